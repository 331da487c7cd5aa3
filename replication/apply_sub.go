package replication

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// applySub is APPLY SUB.
func applySub(v dlist.Value) (action, error) { return changeSub(v, true) }

// applyUnsub is APPLY UNSUB.
func applyUnsub(v dlist.Value) (action, error) { return changeSub(v, false) }

func changeSub(v dlist.Value, subscribe bool) (action, error) {
	userid, mailbox, err := cyrus.ParseSub(v)
	return action{userid, func(ctx context.Context, _ *conn, s Session) error {
		return s.ApplySub(ctx, userid, mailbox, subscribe)
	}}, err
}
