package replication

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// getUser is GET USER userid: every mailbox, quota root, seen state,
// subscription and script of a user.
//
// A rolling client whose QUOTA was refused sends GET USER NIL (imap/sync_support.c,
// sync_do_reader). OK makes it crash, NO makes it loop. After LOCKED it logs the user ""
// for later and continues with the next user. The later GET USER "" is answered OK, and the
// client finds nothing to do (client-behaviour.md 11).
func getUser(v dlist.Value) (action, error) {
	switch {
	case v.Kind == dlist.Nil:
		return action{do: func(context.Context, *conn, Session) error {
			return fmt.Errorf("GET USER NIL after a refused QUOTA: %w", cyrus.ErrLocked)
		}}, nil
	case v.Kind == dlist.String && v.Str == "":
		return action{do: func(context.Context, *conn, Session) error { return nil }}, nil
	}
	userid, err := name("USER", v)
	return action{userid, func(ctx context.Context, c *conn, s Session) error {
		return s.GetUser(ctx, userid, c.untagged)
	}}, err
}
