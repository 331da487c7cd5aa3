package replication

import (
	"context"

	"backupd/replication/dlist"
)

// getUser is GET USER userid: every mailbox, quota root, seen state,
// subscription and script of a user. GET USER NIL comes from a client that has
// lost its way (imap/sync_client.c, do_sync); there is no good answer, see
// replication-protocol.md 10.6.
func getUser(v dlist.Value) (action, error) {
	userid, err := name("USER", v)
	return action{userid, func(ctx context.Context, c *conn, s Session) error {
		return s.GetUser(ctx, userid, c.untagged)
	}}, err
}
