package replication

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// applyCapabilities is APPLY CAPABILITIES (name …). The banner offers no capability, so a
// client should not ask for any. If it does, the reply must contain the ENABLED line,
// because a 3.6 client reads it without checking that it arrived (imap/sync_support.c,
// sync_do_enable).
func applyCapabilities(dlist.Value) (action, error) {
	return action{"", func(_ context.Context, c *conn, _ Session) error {
		return c.untagged("ENABLED", dlist.L())
	}}, nil
}
