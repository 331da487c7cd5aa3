package repository

import (
	"context"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// Owner is what the objects of a backup say about whose it is.
type Owner struct {
	Own     bool   // some of them are this backup's
	Other   string // the path of another backup that some are of; "" = of none
	Created time.Time
	Objects int // of the log and checkpoints
}

// Foreign says that there is nothing of this backup, but something of another.
func (o Owner) Foreign() bool { return !o.Own && o.Other != "" }

// Owner reads headers until one says that the backup is the right one.
func (f *Found) Owner(ctx context.Context) (o Owner, err error) {
	for info, err := range f.Partition.Store.List(ctx, history.LogPrefix(f.Path), "") {
		if err != nil {
			return o, err
		}
		if _, _, ok := history.ParseLogKey(f.Path, info.Key); !ok {
			continue
		}
		o.Objects++
		h, err := history.PeekHeader(ctx, f.Partition.Store, info.Key)
		switch {
		case err != nil && !history.IsDamage(err):
			return o, err
		case err != nil, h.Backup == f.Path && h.Connection == "lock": // a tool's, that was here before
		case h.Backup == f.Path:
			o.Own, o.Created = true, h.Time
			return o, nil
		case o.Other == "":
			o.Other = h.Backup
		}
	}
	numbers, err := f.Log().Checkpoints(ctx)
	for _, n := range numbers {
		o.Objects++
		m, err := history.ReadCheckpoint(ctx, f.Partition.Store, f.Path, n)
		if history.IsUnreadable(err) {
			continue
		}
		if err != nil {
			return o, err
		}
		o.Own, o.Created = true, m.Time()
		return o, m.Close()
	}
	return o, err
}
