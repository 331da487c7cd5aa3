package replication

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// applyQuota is APPLY QUOTA. Never refuse it: the client crashes
// (client-behaviour.md 3, k).
func applyQuota(v dlist.Value) (action, error) {
	q, err := cyrus.ParseQuota(v)
	return action{q.Root, func(ctx context.Context, _ *conn, s Session) error {
		return s.ApplyQuota(ctx, q)
	}}, err
}

// applyUnquota is APPLY UNQUOTA root.
func applyUnquota(v dlist.Value) (action, error) {
	root, err := name("UNQUOTA", v)
	return action{root, func(ctx context.Context, _ *conn, s Session) error {
		return s.ApplyUnquota(ctx, root)
	}}, err
}
