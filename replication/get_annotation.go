package replication

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// getAnnotation is GET ANNOTATION mailbox; "" is the server.
func getAnnotation(v dlist.Value) (action, error) {
	mailbox, err := v.Scalar("ANNOTATION")
	if err == nil {
		err = checkName("ANNOTATION", mailbox)
	}
	return action{mailbox, func(ctx context.Context, c *conn, s Session) error {
		return s.GetAnnotation(ctx, mailbox, c.untagged)
	}}, err
}
