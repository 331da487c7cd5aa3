package replication

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// getQuota is GET QUOTA root.
func getQuota(v dlist.Value) (action, error) {
	root, err := name("QUOTA", v)
	return action{root, func(ctx context.Context, c *conn, s Session) error {
		return s.GetQuota(ctx, root, c.untagged)
	}}, err
}
