package partitions

import (
	"context"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// owner is what the objects of a backup say about whose it is.
type owner struct {
	own     bool   // some of them are this backup's
	other   string // the path of another backup that some are of; "" = of none
	created time.Time
	objects int // of the log and checkpoints
}

// foreign says that there is nothing of this backup, but something of another.
func (o owner) foreign() bool { return !o.own && o.other != "" }

// owner reads headers until one says that the backup is the right one.
func (f *Found) owner(ctx context.Context) (o owner, err error) {
	for info, err := range f.Partition.Store.List(ctx, history.LogPrefix(f.Path), "") {
		if err != nil {
			return o, err
		}
		if _, _, ok := history.ParseLogKey(f.Path, info.Key); !ok {
			continue
		}
		o.objects++
		h, err := history.PeekHeader(ctx, f.Partition.Store, info.Key)
		switch {
		case err != nil && !history.IsDamage(err):
			return o, err
		case err != nil, h.Backup == f.Path && h.Connection == "lock": // a tool's, that was here before
		case h.Backup == f.Path:
			o.own, o.created = true, h.Time
			return o, nil
		case o.other == "":
			o.other = h.Backup
		}
	}
	numbers, err := f.Log().Checkpoints(ctx)
	for _, n := range numbers {
		o.objects++
		m, err := history.ReadCheckpoint(ctx, f.Partition.Store, f.Path, n)
		if history.IsUnreadable(err) {
			continue
		}
		if err != nil {
			return o, err
		}
		o.own, o.created = true, m.Time()
		return o, m.Close()
	}
	return o, err
}
