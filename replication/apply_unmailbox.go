package replication

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// applyUnmailbox is APPLY UNMAILBOX name: the mailbox was deleted permanently.
func applyUnmailbox(v dlist.Value) (action, error) {
	mailbox, err := name("UNMAILBOX", v)
	return action{mailbox, func(ctx context.Context, _ *conn, s Session) error {
		return s.ApplyUnmailbox(ctx, mailbox)
	}}, err
}
