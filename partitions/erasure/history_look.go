package erasure

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// HistorySurvey shows what EraseHistory would remove.
type HistorySurvey struct {
	Found *repository.Found
	Until time.Time
	Held  error
	Reach repository.Reach // before the erasure
	// Messages were deleted before Until and are in the state at that time, so that nobody can restore
	// them afterwards. Single moments before may have more.
	Messages int
	Bytes    int64
	// Interrupted is the record of an earlier run, or nil. Once that has removed something, its time counts if it is
	// later.
	Interrupted *repository.Erasure
	// ListLost means that its list of packs is lost. Then every pack of the partition is rewritten.
	ListLost bool

	parts []repository.Config
}

// ErrCopies reports that a backup exists more than once.
var ErrCopies = errors.New("only a backup without other copies can be erased in part: a copy that was set aside, or left in another partition by a move, has its own history")

// LookAtHistory finds the backup, and what it has of the time before until. It returns ErrCopies if
// there is more than the backup in use.
func LookAtHistory(ctx context.Context, parts []repository.Config, n repository.Name, until time.Time, here func() time.Time) (*HistorySurvey, error) {
	c, err := onlyCopy(ctx, parts, n, here)
	if err != nil {
		return nil, err
	}
	h := &HistorySurvey{parts: parts, Found: c.Found, Until: until, Held: c.Held}
	if err := noOtherPart(ctx, h.Found, nil); err != nil {
		return nil, err
	}
	r, err := interrupted(ctx, h.Found, false, repository.LockOptions{Now: here})
	if err != nil {
		return nil, err
	}
	if r != nil {
		h.Interrupted = r.Erasure
		if r.State == repository.ErasureRemoving && r.Before.After(until) {
			h.Until = r.Before
		}
		if h.ListLost, err = lostList(ctx, h.Found.Partition, r); err != nil {
			return nil, err
		}
	}
	if h.Reach, err = h.Found.Reach(ctx, here()); err == nil {
		err = h.count(ctx, here())
	}
	if r != nil && r.State == repository.ErasureRemoving && history.IsUnreadable(err) {
		return h, nil // EraseHistory notes the failure in the record, so that a person can end the erasure
	}
	if err != nil {
		return nil, err
	}
	return h, nil
}

// lostList reports whether the list of packs of an interrupted erasure is lost.
func lostList(ctx context.Context, p repository.Config, r *record) (bool, error) {
	if r.State != repository.ErasureRemoving {
		return false, nil
	}
	err := checkList(ctx, p.Store, r.Erasure)
	if history.IsDamage(err) {
		return true, nil
	}
	return false, err
}

// onlyCopy finds the backup in use. It returns ErrCopies if there are others.
func onlyCopy(ctx context.Context, parts []repository.Config, n repository.Name, here func() time.Time) (*Copy, error) {
	s, err := Look(ctx, parts, n, here)
	switch {
	case err != nil:
		return nil, err
	case slices.ContainsFunc(s.Records, func(r Record) bool { return r.Unfinished() }):
		return nil, errors.New("the whole backup is being erased: see ctl_backups erase --list")
	case len(s.Copies) == 0:
		return nil, fmt.Errorf("not found: %w", repository.ErrNoBackup)
	case len(s.Copies) > 1 || s.Copies[0].Aside != "":
		all := ErrCopies
		for _, c := range s.Copies {
			all = fmt.Errorf("%w; partition %s: %s", all, c.Partition.Name, c.Where())
		}
		return nil, all
	}
	return &s.Copies[0], nil
}

// count counts the messages that were deleted before the time, and that no later moment names.
func (h *HistorySurvey) count(ctx context.Context, here time.Time) error {
	m, err := h.Found.Load(ctx, history.Moment{Time: h.Until.Add(-time.Nanosecond), Now: here})
	if errors.Is(err, history.ErrNotKept) || errors.Is(err, history.ErrBeforeFirst) {
		return nil
	}
	if err != nil {
		return err
	}
	defer m.Close()
	before, bytes, err := sizeOf(m)
	if err != nil {
		return err
	}
	newest, err := h.Found.Log().Newest(ctx, m.Tip().Number)
	if err != nil {
		return err
	}
	full, err := h.Found.Load(ctx, history.Moment{Number: m.Tip().Number})
	if err != nil {
		return err
	}
	defer full.Close()
	later := history.NewLater(h.Until)
	if err := later.Fold(full, h.Found.Log().CommitsAfter(ctx, full.Tip(), newest)); err != nil {
		return err
	}
	if _, err := m.Forget(later); err != nil {
		return err
	}
	after, left, err := sizeOf(m)
	h.Messages, h.Bytes = before-after, bytes-left
	return err
}

func sizeOf(m *history.Mem) (n int, bytes int64, err error) {
	for s, err := range m.DistinctMessages() {
		if err != nil {
			return 0, 0, err
		}
		n++
		bytes += s.Size
	}
	return n, bytes, nil
}

// now returns the store's time, or an error if it is uncertain.
func now(ctx context.Context, p repository.Config, here func() time.Time) (time.Time, error) {
	return storeclock.Certain(ctx, p.Store, repository.Key, here, time.Time{})
}
