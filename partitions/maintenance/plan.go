package maintenance

import (
	"context"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Plan is what a list of a backup's log shows of the work on it.
type Plan struct {
	Commits int   // single commits that can be merged
	Bytes   int64 // of their objects
	Days    int   // on which they were put: at least as many segments follow
}

// PlanMerge counts the commits that can be merged. It costs no request if the backup was
// just listed with others.
func PlanMerge(ctx context.Context, f *repository.Found, before time.Time) (p Plan, err error) {
	f = f.Listed()
	var last, day time.Time
	var size int64
	for info, err := range f.Partition.Store.List(ctx, history.LogPrefix(f.Path), "") {
		if err != nil {
			return p, err
		}
		if _, ok := single(f.Path, info.Key); !ok {
			continue
		}
		if !last.IsZero() { // the one before is not the newest
			if !last.Before(before) {
				return p, nil
			}
			if size <= largestMerged {
				p.Commits++
				p.Bytes += size
				if d := last.UTC().Truncate(24 * time.Hour); !d.Equal(day) {
					p.Days++
					day = d
				}
			}
		}
		last, size = info.Modified, info.Size
	}
	return p, nil
}

// Requests estimates the requests of the merge: each commit is read and removed, each
// segment is put and read back.
func (p Plan) Requests() int {
	if p.Commits == 0 {
		return 0
	}
	const perBackup = 14 // the lease, lists, and reads of backup.json
	return perBackup + 2*p.Commits + 4*p.Days
}
