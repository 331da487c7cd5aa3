package backupd

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/control"
)

// control answers requests of the tools.
func (b *backups) control(ctx context.Context, r control.Request, part func(any) error) control.Reply {
	var err error
	switch r.Op {
	case "ping":
	case "reindex":
		err = b.set.ReindexPath(ctx, r.Path)
	case "profile":
		err = b.profiles.send(ctx, r.Kind, r.For, part)
	default:
		err = fmt.Errorf("this backupd does not know the operation %q", r.Op)
	}
	if err != nil {
		return control.Reply{Error: err.Error()}
	}
	return control.Reply{}
}
