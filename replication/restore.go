package replication

import "context"

// restore is RESTORE, which a Cyrus restore tool sends to a mail server
// (imap/sync_support.c, sync_restore). A backup server does not support it.
func (c *conn) restore(_ context.Context, _ string) error {
	return c.refuseLine("NO IMAP_PROTOCOL_ERROR RESTORE is for mail servers, this is a backup server")
}
