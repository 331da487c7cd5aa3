package replication

import "context"

// gets returns what may follow GET (backup/backupd.c, cmd_get; imap/sync_support.c, sync_get).
func gets() map[string]request {
	return map[string]request{
		"USER":        {policy: deferrable, run: whole(getUser), begins: true},
		"MAILBOXES":   {policy: deferrable, run: whole(getMailboxes), begins: true},
		"META":        {policy: promotable, run: whole(getMeta)},
		"FULLMAILBOX": {policy: notDeferrable, run: whole(getFullMailbox)},
		"FETCH":       {policy: notDeferrable, run: whole(getFetch)},
		// A rolling client whose GET ANNOTATION is refused retries in an endless loop
		// (client-behaviour.md 3, 2r16).
		"ANNOTATION": {policy: neverRefused, run: whole(getAnnotation)},
		// No client from 3.6 to 3.12 sends these.
		"UNIQUEIDS":   {policy: promotable, run: whole(getUniqueIDs)},
		"QUOTA":       {policy: promotable, run: whole(getQuota)},
		"FETCH_SIEVE": {policy: promotable, run: whole(getFetchSieve)},
	}
}

func (c *conn) get(ctx context.Context, verb string) error {
	return c.dispatch(ctx, verb, c.srv.gets)
}
