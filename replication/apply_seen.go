package replication

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// applySeen is APPLY SEEN: a user's seen state of a mailbox that stores it per user.
func applySeen(v dlist.Value) (action, error) {
	seen, err := cyrus.ParseSeen(v)
	return action{seen.UserID, func(ctx context.Context, _ *conn, s Session) error {
		return s.ApplySeen(ctx, seen)
	}}, err
}
