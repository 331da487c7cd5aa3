package backupd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/partitions"
)

// control answers requests of the tools.
func (b *backups) control(ctx context.Context, r control.Request, part func(any) error) control.Reply {
	var note string
	var err error
	switch r.Op {
	case "ping":
	case "reindex":
		err = b.set.ReindexPath(ctx, r.Path)
	case "list":
		note, err = b.list(b.set.Known, part)
	case "stat":
		note, err = b.list(b.set.KnownMeasured, part)
	case "measured":
		err = b.set.PutMeasured(r.Values)
	case "changed":
		err = b.set.ForgetCensus()
	case "status":
		err = b.sendStatus(part)
	case "forget-server":
		err = b.set.ForgetServer(ctx, r.Client)
	case "profile":
		err = b.profiles.send(ctx, r.Kind, r.For, part)
	default:
		err = fmt.Errorf("this backupd does not know the operation %q", r.Op)
	}
	if err != nil {
		return control.Reply{Error: err.Error()}
	}
	return control.Reply{Note: note}
}

// list sends what the index knows about all backups. If other hosts may have changed some, list
// returns a note, and starts to count them for the next request. It fails if the backups were never
// counted.
func (b *backups) list(known func(partition string) iter.Seq2[[]partitions.Known, error], part func(any) error) (note string, err error) {
	at, err := b.set.Counted()
	if errors.Is(err, partitions.ErrNoCensus) {
		b.set.BeginCensus()
	}
	if err != nil {
		return "", err
	}
	if age := time.Since(at); age > partitions.CensusAge || age < 0 {
		b.set.BeginCensus()
		note = fmt.Sprintf("backupd counted the backups at %s, and now counts them again: the answer may lack changes by other hosts", timespec.Text(at))
	}
	if err := b.set.FlushContacts(); err != nil {
		return "", err
	}
	for _, p := range b.set.Partitions() {
		for some, err := range known(p.Name()) {
			if err == nil {
				err = part(some)
			}
			if err != nil {
				return "", err
			}
		}
	}
	return note, nil
}
