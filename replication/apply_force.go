package replication

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// applyForce is APPLY FORCE %(), which sync_client -O sends before anything else. It
// applies to the rest of the connection.
func applyForce(dlist.Value) (action, error) {
	return action{"", func(ctx context.Context, _ *conn, s Session) error {
		return s.ApplyForce(ctx)
	}}, nil
}
