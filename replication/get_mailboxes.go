package replication

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// getMailboxes is GET MAILBOXES (name …). The names may belong to several users: a 3.12
// client adds former names to every user sync (client-behaviour.md 10).
func getMailboxes(v dlist.Value) (action, error) {
	list, err := names("MAILBOXES", v)
	return action{first(list), func(ctx context.Context, c *conn, s Session) error {
		return s.GetMailboxes(ctx, list, c.untagged)
	}}, err
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}
