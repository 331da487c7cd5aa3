package replication

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// applyRename is APPLY RENAME, of a mailbox or, if both names are equal, of its partition
// only. A delayed delete arrives as a rename into DELETED.
func applyRename(v dlist.Value) (action, error) {
	r, err := cyrus.ParseRename(v)
	return action{r.Old, func(ctx context.Context, _ *conn, s Session) error {
		return s.ApplyRename(ctx, r)
	}}, err
}
