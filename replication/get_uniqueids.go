package replication

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// getUniqueIDs is GET UNIQUEIDS (id …). The answer has the format of GET MAILBOXES.
func getUniqueIDs(v dlist.Value) (action, error) {
	ids, err := names("UNIQUEIDS", v)
	return action{first(ids), func(ctx context.Context, c *conn, s Session) error {
		return s.GetUniqueIDs(ctx, ids, c.untagged)
	}}, err
}
