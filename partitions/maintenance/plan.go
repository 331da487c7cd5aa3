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

// Requests are numbers of requests, as stores charge them.
type Requests struct {
	Get    int `json:"get"` // HEAD, too
	Put    int `json:"put"` // LIST, too
	Delete int `json:"delete"`
}

// Add adds other requests.
func (r *Requests) Add(o Requests) {
	r.Get += o.Get
	r.Put += o.Put
	r.Delete += o.Delete
}

// Total returns their number.
func (r Requests) Total() int { return r.Get + r.Put + r.Delete }

// lease are the requests to take a lease of a backup, to list the backup, and to end the lease.
func lease() Requests { return Requests{Get: 1, Put: 3} }

// Requests estimates the requests of the merge: each commit is read and removed, each
// segment is put and read back. The newest commit and backup.json are read, and packs.
func (p Plan) Requests() (r Requests) {
	if p.Commits == 0 {
		return r
	}
	r = lease()
	r.Add(Requests{Get: 5 + p.Commits + p.Days, Put: 1 + p.Days, Delete: p.Commits})
	return r
}

// Requests estimates the requests of a retention that a dry run has shown.
func (r *RetainResult) Requests() (n Requests) {
	if !r.Changed() {
		return n
	}
	n = lease()
	n.Add(Requests{Get: 17 + r.Log.Objects + 2*r.Written, Put: 12 + 2*r.Written, Delete: r.Objects()})
	return n
}

// Objects returns the number of removed objects.
func (r *RetainResult) Objects() int {
	return r.Log.Objects + r.Checkpoints.Objects + r.Records.Objects
}

// Bytes returns the size of the removed objects.
func (r *RetainResult) Bytes() int64 { return r.Log.Bytes + r.Checkpoints.Bytes + r.Records.Bytes }
