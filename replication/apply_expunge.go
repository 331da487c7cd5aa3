package replication

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// applyExpunge is APPLY EXPUNGE: the records that the client found expunged on its own side
// when it compared with GET FULLMAILBOX (client-behaviour.md 1, f10).
func applyExpunge(v dlist.Value) (action, error) {
	mailbox, uniqueid, uids, err := cyrus.ParseExpunge(v)
	return action{mailbox, func(ctx context.Context, _ *conn, s Session) error {
		return s.ApplyExpunge(ctx, mailbox, uniqueid, uids)
	}}, err
}
