package replication

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// applyForce is APPLY FORCE %(), sent by sync_client -O before anything else.
// It holds for the rest of the connection.
func applyForce(dlist.Value) (action, error) {
	return action{"", func(ctx context.Context, _ *conn, s Session) error {
		return s.ApplyForce(ctx)
	}}, nil
}
