package client

import (
	"context"
	"iter"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// ApplyLocalMailbox is ApplyMailbox for a server that must not notify the other servers of
// its murder (sync_client -L).
func (c *Client) ApplyLocalMailbox(ctx context.Context, fields []dlist.Pair, since cyrus.Since, records iter.Seq2[*cyrus.Record, error]) error {
	return c.mailbox(ctx, "APPLY LOCAL_MAILBOX", fields, since, records)
}
