package replication

import "context"

// gets returns what may follow GET (backup/backupd.c, cmd_get; imap/sync_support.c, sync_get).
func gets() map[string]request {
	return map[string]request{
		"USER":        {deferrable, whole(getUser)},
		"MAILBOXES":   {deferrable, whole(getMailboxes)},
		"META":        {promotable, whole(getMeta)},
		"FULLMAILBOX": {notDeferrable, whole(getFullMailbox)},
		"FETCH":       {notDeferrable, whole(getFetch)},
		// A rolling client whose GET ANNOTATION is refused spins
		// (client-behaviour.md 3, 2r16).
		"ANNOTATION": {neverRefused, whole(getAnnotation)},
		// No client from 3.6 to 3.12 sends these.
		"UNIQUEIDS":   {promotable, whole(getUniqueIDs)},
		"QUOTA":       {promotable, whole(getQuota)},
		"FETCH_SIEVE": {promotable, whole(getFetchSieve)},
	}
}

func (c *conn) get(ctx context.Context, verb string) error {
	return c.dispatch(ctx, verb, c.srv.gets)
}
