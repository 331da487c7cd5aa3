package repository

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// After a move a backup is in two partitions. The old log ends with a seal that names the
// repository where the backup continues; the new log begins with the whole old log,
// including the seal (docs/format.md 2.1).

// ErrSealed reports a backup whose log ends with a seal in this partition.
var ErrSealed = errors.New("the backup is sealed: it was moved or erased, see ctl_backups(8)")

// SealOf returns the newest seal in a state, or nil.
func SealOf(st history.State) (*history.SealedEvent, error) {
	i, err := st.Item(history.ItemKey{Kind: history.ItemSealed})
	if i == nil || err != nil {
		return nil, err
	}
	return i.Event.(*history.SealedEvent), nil
}

// Current returns the copy of a backup that is in use, or nil if there are no copies. A
// single copy is returned without reading it.
func Current(ctx context.Context, copies []*Found) (*Found, error) {
	if len(copies) < 2 {
		for _, f := range copies {
			return f, nil
		}
		return nil, nil
	}
	var open []LogEnd // copies without a seal at the end
	var newest uint64
	for _, f := range copies {
		end, err := f.LogEnd(ctx)
		if err != nil {
			return nil, err
		}
		newest = max(newest, end.tip.Number)
		if !end.Sealed() {
			open = append(open, end)
		}
	}
	switch {
	case len(open) > 1:
		return chooseUnsealed(ctx, open)
	case len(open) == 0 || open[0].tip.Number < newest:
		return nil, fmt.Errorf("the backup of %s %w", copies[0].Name(), ErrHalfMoved)
	}
	return open[0].Found, nil
}

// ErrHalfMoved reports a backup without a complete and unsealed log in any partition.
var ErrHalfMoved = fmt.Errorf("is half moved: run ctl_backups move again to finish: %w", cyrus.ErrLocked)

// LogEnd is the newest commit of a copy's log.
type LogEnd struct {
	Found *Found
	tip   history.Tip
	Seal  *history.SealedEvent // in that commit, or nil
	Repo  string               // id of the copy's repository
}

// Sealed reports whether the newest commit ends the log in this repository.
func (e LogEnd) Sealed() bool { return e.Seal != nil && e.Seal.To != e.Repo }

// LogEnd reads the newest commit of the backup.
func (f *Found) LogEnd(ctx context.Context) (LogEnd, error) {
	repo, err := ReadInfo(ctx, f.Partition.Store)
	if err != nil {
		return LogEnd{}, fmt.Errorf("partition %s: %w", f.Partition.Name, err)
	}
	end := LogEnd{Found: f, Repo: repo.ID}
	end.tip, end.Seal, err = f.Tip(ctx, 0)
	return end, err
}

// chooseUnsealed chooses between copies whose logs do not end with a seal. It reads their
// whole logs, because a backup may be moving back to a partition that it has left before.
func chooseUnsealed(ctx context.Context, ends []LogEnd) (*Found, error) {
	var at []*Found
	for _, e := range ends {
		goesOn, err := e.GoesOn(ctx)
		if err != nil {
			return nil, err
		}
		if goesOn {
			at = append(at, e.Found)
		}
	}
	switch len(at) {
	case 0:
		return nil, fmt.Errorf("the backup of %s %w", ends[0].Found.Name(), ErrHalfMoved)
	case 1:
		return at[0], nil
	}
	return nil, fmt.Errorf("the backup of %s: %w, %s (%s) and %s (%s): remove one of them, see ctl_backups(8)",
		at[0].Name(), ErrTwice, at[0].Partition.Name, at[0].Partition.Location, at[1].Partition.Name, at[1].Partition.Location)
}

// GoesOn reports whether the log has no seal, or its last seal names this repository.
func (e LogEnd) GoesOn(ctx context.Context) (bool, error) {
	m, err := e.Found.Load(ctx, history.Moment{Tolerant: true})
	if errors.Is(err, history.ErrBeforeFirst) {
		return true, nil // no commit yet
	}
	if err != nil {
		return false, err
	}
	defer m.Close()
	seal, err := SealOf(m)
	return seal == nil || seal.To == e.Repo, err
}
