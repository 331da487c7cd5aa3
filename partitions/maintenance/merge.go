package maintenance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/packing"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// MinLogAge is the default of backup_log_min_age: no commit is merged or removed before.
const MinLogAge = 48 * time.Hour

const (
	// segmentSize is how many bytes of lines a segment has before the next one begins.
	segmentSize = 8 << 20
	// largestMerged is the size of the largest object that is merged. A larger one costs a
	// reader no more requests than a segment would.
	largestMerged = 2 << 20
	// mostWhole bounds the memory of a single commit.
	mostWhole = 64 << 20
	// batchBytes and batchUnits bound what waits for the pack of its bodies.
	batchBytes = 16 << 20
	batchUnits = 256
	// readAhead is how many commits are read at a time.
	readAhead = 8
	// mergedAtOnce is how many backups are merged at a time. Most of the requests remove
	// objects of one backup in order, each after the other.
	mergedAtOnce = 16
)

// MergeOptions are the options of a Merger.
type MergeOptions struct {
	Pack     pack.Options
	PackSize int64
	// Before is the end of the last day that is merged: see LastDay.
	Before time.Time
	// Private stores equal bodies once for each backup, as repository.json may demand.
	Private bool
	// Relist lists each backup again: it has changed since its lease was taken.
	Relist bool
	// Large reports whether a large commit is merged, too. nil: none is.
	Large func(n uint64) bool
	// Erased returns the place of a chunk of commit n that was erased, and whether it was: its body does not get into a
	// pack. nil: none was.
	Erased func(n uint64, c history.ChunkID) (history.Place, bool)
	// Packing is called before a pack is put. nil: it is not called.
	Packing func(ctx context.Context, key string) error
}

// LastDay returns the end of the last day (UTC) whose commits may be merged at the store's
// time now: the whole day is older than minAge.
func LastDay(now time.Time, minAge time.Duration) time.Time {
	return now.UTC().Add(-minAge).Truncate(24 * time.Hour)
}

// Merger merges old commits of the backups of a partition into segments, one for each run
// of commits of a day, and moves their bodies into packs. It works on several backups at a
// time, whose bodies share packs. Not safe for concurrent use.
type Merger struct {
	p       repository.Config
	o       MergeOptions
	packs   *packing.Packer
	objects *history.Objects
	units   []*unit
	waiting int // bytes of units
}

// NewMerger returns a Merger for a partition.
func NewMerger(p repository.Config, o MergeOptions) *Merger {
	m := &Merger{p: p, o: o, packs: packing.New(p.Store, o.PackSize, o.Pack), objects: history.NewObjects(p.Store, 0)}
	m.packs.Announce(o.Packing)
	return m
}

// Merged is the work on one backup. It is complete after Flush.
type Merged struct {
	Found    *repository.Found
	Upkeep   *repository.Upkeep
	Err      error // why the rest of the backup was left unchanged
	Commits  int   // in new segments
	Segments int
	Removed  int   // objects
	Bytes    int64 // of removed objects
	// Seen are the objects of its log that are new for collection, and were read, and commits that were merged.
	Seen []Seen
}

// Packed returns the packs that were put, and their bytes.
func (m *Merger) Packed() (packs int, bytes int64) { return m.packs.Put() }

// errBackupChanged reports that another backup has taken the place of the one to work on.
var errBackupChanged = errors.New("the backup was replaced meanwhile by another one with its name")

// sameBackup returns an error if the backup is not the one that was found. The caller of
// Merger has seen its backup.json; a new backup of the same name has another id.
func sameBackup(ctx context.Context, f *repository.Found) error {
	i, err := repository.ReadBackupInfo(ctx, f.Partition.Store, f.Path)
	if err == nil && i.ID != f.Info.ID {
		err = errBackupChanged
	}
	return err
}

// Add reads the commits of a backup that can be merged. Some may be merged at once, the
// others at the next Flush. Whatever goes wrong with this backup alone is in Merged.Err.
func (m *Merger) Add(ctx context.Context, f *repository.Found, u *repository.Upkeep) *Merged {
	job := &Merged{Found: f, Upkeep: u}
	if m.o.Private {
		m.packs.Forget()
	}
	ctx, end := during(ctx, u)
	defer end()
	job.fail(m.add(ctx, job))
	return job
}

func (j *Merged) fail(err error) {
	if j.Err == nil {
		j.Err = err
	}
}

// during returns a context that ends with ctx and with the upkeep.
func during(ctx context.Context, u *repository.Upkeep) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(u.Context(), func() { cancel(context.Cause(u.Context())) })
	return ctx, func() { stop(); cancel(nil) }
}

func (m *Merger) add(ctx context.Context, job *Merged) error {
	f, same := job.Found, false
	if !m.o.Relist {
		f, same = job.Upkeep.Listed(job.Found)
	}
	if !same {
		if err := sameBackup(ctx, job.Found); err != nil {
			return err
		}
	}
	log := f.Log()
	outline, err := log.Outline(ctx)
	if err != nil {
		return err
	}
	if outline.Doubtful {
		f, log = job.Found, job.Found.Log() // the list of it changes
		if err := m.removeOdd(ctx, job, log); err != nil {
			return err
		}
		if outline, err = log.Outline(ctx); err != nil {
			return err
		}
	}
	if outline.Newest == 0 {
		return nil
	}
	if err := outline.Unfinished(); err != nil {
		return err
	}
	tip, err := f.OpenTip(ctx, outline.Newest)
	if err == nil && tip.Hash == "" {
		err = fmt.Errorf("commit %d, the newest, cannot be read: nothing is merged, run ctl_backups verify --repair: %w", tip.Number, history.ErrCorrupt)
	}
	if err != nil {
		return err
	}
	if outline.Missing > 0 {
		if err := bridged(ctx, f); err != nil {
			return err
		}
	}
	if err := m.seeNewest(ctx, job, f, outline.Newest); err != nil {
		return err
	}
	return m.collect(ctx, job, f.Partition.Store, outline.Newest)
}

// bridged returns an error if commits are missing from the log that no bridge names.
func bridged(ctx context.Context, f *repository.Found) error {
	state, err := f.Load(ctx, history.Moment{})
	if err != nil {
		return fmt.Errorf("nothing is merged, run ctl_backups verify --repair: %w", err)
	}
	return state.Close()
}

// Flush merges what waits. An error is about the packs of all backups; those about single
// backups are in their Merged.
func (m *Merger) Flush(ctx context.Context) error {
	units := m.units
	m.units, m.waiting = nil, 0
	err := m.packs.Flush(ctx)
	var work sync.WaitGroup
	slots := make(chan struct{}, mergedAtOnce)
	for len(units) > 0 {
		n := 1 // units of the same backup, in order
		for n < len(units) && units[n].job == units[0].job {
			n++
		}
		list := units[:n]
		units = units[n:]
		work.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			for _, u := range list {
				u.job.fail(err)
				if u.job.Err == nil {
					u.job.fail(m.merge(ctx, u))
				}
			}
		})
	}
	work.Wait()
	return err
}
