package replication

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// applyActivateSieve is APPLY ACTIVATE_SIEVE; it names the compiled script, NAME.bc.
func applyActivateSieve(v dlist.Value) (action, error) {
	userid, filename, err := cyrus.ParseUserFile(v)
	return action{userid, func(ctx context.Context, _ *conn, s Session) error {
		return s.ApplyActivateSieve(ctx, userid, filename)
	}}, err
}

// applyUnactivateSieve is APPLY UNACTIVATE_SIEVE.
func applyUnactivateSieve(v dlist.Value) (action, error) {
	userid, err := cyrus.ParseUser(v)
	return action{userid, func(ctx context.Context, _ *conn, s Session) error {
		return s.ApplyUnactivateSieve(ctx, userid)
	}}, err
}
