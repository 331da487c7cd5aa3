package replication

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// applyCapabilities is APPLY CAPABILITIES (name …). No capability is offered, so
// none should be asked for; if it is, the ENABLED line must be there, since a 3.6
// client reads it without looking whether it has come (imap/sync_support.c,
// sync_do_enable).
func applyCapabilities(dlist.Value) (action, error) {
	return action{"", func(_ context.Context, c *conn, _ Session) error {
		return c.untagged("ENABLED", dlist.L())
	}}, nil
}
