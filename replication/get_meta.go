package replication

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// getMeta is GET META userid: the GET USER answer without mailboxes and quota.
func getMeta(v dlist.Value) (action, error) {
	userid, err := name("META", v)
	return action{userid, func(ctx context.Context, c *conn, s Session) error {
		return s.GetMeta(ctx, userid, c.untagged)
	}}, err
}
