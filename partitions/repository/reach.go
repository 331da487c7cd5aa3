package repository

import (
	"context"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// Reach is how far back a backup can be restored. A zero time is unknown.
type Reach struct {
	First time.Time // the first moment that can be restored
	// Single is the number of moments before Every: retention has kept them as checkpoints.
	Single int
	Every  time.Time // every moment from here on can be restored
}

// Reach lists the backup, and reads the heads of at most two objects.
func (f *Found) Reach(ctx context.Context, now time.Time) (Reach, error) {
	log := f.Log()
	first, err := log.First(ctx)
	if err != nil || first == 0 {
		return Reach{}, err
	}
	older, err := log.Checkpoints(ctx)
	if err != nil {
		return Reach{}, err
	}
	var r Reach
	oldest, base := uint64(0), false
	for _, n := range older { // descending
		switch {
		case n >= first:
			continue
		case n == first-1:
			base = true
		default:
			r.Single++
		}
		oldest = n
	}
	if base {
		r.Every, err = f.timeOfCheckpoint(ctx, first-1)
	} else {
		r.Every, err = f.timeOfCommit(ctx, first, now)
	}
	if r.First = r.Every; err == nil && r.Single > 0 {
		r.First, err = f.timeOfCheckpoint(ctx, oldest)
	}
	return r, err
}

// timeOfCheckpoint returns zero for a checkpoint that is unreadable: verify reports the damage.
func (f *Found) timeOfCheckpoint(ctx context.Context, n uint64) (time.Time, error) {
	m, err := history.ReadCheckpoint(ctx, f.Partition.Store, f.Path, n)
	if history.IsUnreadable(err) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	return m.Time(), m.Close()
}

// timeOfCommit returns zero for a commit that is unreadable.
func (f *Found) timeOfCommit(ctx context.Context, n uint64, now time.Time) (time.Time, error) {
	h, err := f.Log().Header(ctx, n)
	if err != nil {
		if history.IsUnreadable(err) {
			err = nil
		}
		return time.Time{}, err
	}
	at, _, err := f.Log().Made(ctx, h, now)
	return at, err
}
