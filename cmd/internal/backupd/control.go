package backupd

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/control"
)

// control answers requests of the tools.
func (b *backups) control(ctx context.Context, r control.Request) control.Reply {
	switch r.Op {
	case "ping":
		return control.Reply{}
	case "reindex":
		if err := b.set.ReindexPath(ctx, r.Path); err != nil {
			return control.Reply{Error: err.Error()}
		}
		return control.Reply{}
	}
	return control.Reply{Error: fmt.Sprintf("this backupd does not know the operation %q", r.Op)}
}
