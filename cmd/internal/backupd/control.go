package backupd

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/partitions"
)

// control answers requests of the tools.
func (b *backups) control(ctx context.Context, r control.Request, part func(any) error) control.Reply {
	var err error
	switch r.Op {
	case "ping":
	case "reindex":
		err = b.set.ReindexPath(ctx, r.Path)
	case "list":
		err = b.list(part)
	case "changed":
		err = b.set.ForgetCensus()
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

// list sends what the index knows about all backups. If it may not know all, list starts to look
// for them, for the next request.
func (b *backups) list(part func(any) error) error {
	for _, p := range b.set.Partitions() {
		for some, err := range b.set.Known(p.Name()) {
			if errors.Is(err, partitions.ErrNoCensus) {
				b.set.BeginCensus()
			}
			if err == nil {
				err = part(some)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
