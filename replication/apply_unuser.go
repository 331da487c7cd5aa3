package replication

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// applyUnuser is APPLY UNUSER userid.
func applyUnuser(v dlist.Value) (action, error) {
	userid, err := name("UNUSER", v)
	return action{userid, func(ctx context.Context, _ *conn, s Session) error {
		return s.ApplyUnuser(ctx, userid)
	}}, err
}
