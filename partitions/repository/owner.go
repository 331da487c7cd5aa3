package repository

import (
	"context"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// Owner is the owner of a backup according to its objects.
type Owner struct {
	Own     bool      // some objects belong to this backup
	Other   string    // path of another backup that some objects belong to, or ""
	Created time.Time // when the first of them that is left was made: the backup may be older
	First   uint64    // the number of its commit; 1 = Created is the beginning of the backup
	Objects int       // number of commits and checkpoints read
}

// Foreign reports whether the objects belong to another backup only.
func (o Owner) Foreign() bool { return !o.Own && o.Other != "" }

// Owner reads headers until one of them names this backup.
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
		case err != nil, h.Backup == f.Path && h.Connection == "lock": // a lock that a tool took here proves nothing
		case h.Backup == f.Path:
			o.Own, o.Created, o.First = true, h.Time, h.Number
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
		o.Own, o.Created, o.First = true, m.Time(), n
		return o, m.Close()
	}
	return o, err
}
