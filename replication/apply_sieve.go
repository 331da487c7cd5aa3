package replication

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// applySieve is APPLY SIEVE: the text of a script.
func applySieve(v dlist.Value) (action, error) {
	script, err := cyrus.ParseSieve(v)
	return action{script.UserID, func(ctx context.Context, _ *conn, s Session) error {
		return s.ApplySieve(ctx, script)
	}}, err
}

// applyUnsieve is APPLY UNSIEVE: a script was deleted.
func applyUnsieve(v dlist.Value) (action, error) {
	userid, filename, err := cyrus.ParseUserFile(v)
	return action{userid, func(ctx context.Context, _ *conn, s Session) error {
		return s.ApplyUnsieve(ctx, userid, filename)
	}}, err
}
