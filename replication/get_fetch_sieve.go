package replication

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// getFetchSieve is GET FETCH_SIEVE %(USERID u FILENAME f).
func getFetchSieve(v dlist.Value) (action, error) {
	userid, filename, err := cyrus.ParseUserFile(v)
	return action{userid, func(ctx context.Context, c *conn, s Session) error {
		return s.GetFetchSieve(ctx, userid, filename, c.untagged)
	}}, err
}
