package repository

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// A backup that was moved is in two partitions: the log of the old one ends with a seal
// that names the repository in which it goes on, and the new one's begins with all of
// the old one's, the seal included (docs/format.md 2.1).

// ErrSealed: the log of the backup has ended here.
var ErrSealed = errors.New("the backup is sealed: it was moved or erased, see ctl_backups(8)")

// SealOf is the newest seal that a state knows; nil = none.
func SealOf(st history.State) (*history.SealedEvent, error) {
	i, err := st.Item(history.ItemKey{Kind: history.ItemSealed})
	if i == nil || err != nil {
		return nil, err
	}
	return i.Event.(*history.SealedEvent), nil
}

// Current is the one of a backup's copies in which it goes on; nil when there are none. A
// single one is not asked anything.
func Current(ctx context.Context, copies []*Found) (*Found, error) {
	if len(copies) < 2 {
		for _, f := range copies {
			return f, nil
		}
		return nil, nil
	}
	var at []LogEnd // of those that may be it
	var newest uint64
	for _, f := range copies {
		end, err := f.LogEnd(ctx)
		if err != nil {
			return nil, err
		}
		newest = max(newest, end.tip.Number)
		if !end.Sealed() {
			at = append(at, end)
		}
	}
	switch {
	case len(at) > 1:
		return unsealed(ctx, at)
	case len(at) == 0 || at[0].tip.Number < newest:
		return nil, fmt.Errorf("the backup of %s %w", copies[0].Name(), ErrHalfMoved)
	}
	return at[0].Found, nil
}

// ErrHalfMoved: neither partition has all of it and no seal.
var ErrHalfMoved = fmt.Errorf("is half moved: ctl_backups move finishes it: %w", cyrus.ErrLocked)

// LogEnd is the newest commit of a copy's log.
type LogEnd struct {
	Found *Found
	tip   history.Tip
	Seal  *history.SealedEvent // in that commit; nil = there is none
	Repo  string               // id of the repository that it stands in
}

// Sealed says that the newest commit sends everybody away.
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

// unsealed chooses among copies none of which ends with a seal, by their whole logs: one
// can be on its way back to a partition that it was moved out of before.
func unsealed(ctx context.Context, ends []LogEnd) (*Found, error) {
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
	return nil, fmt.Errorf("the backup of %s: %w, %s (%s) and %s (%s): one of them has to go, see ctl_backups(8)",
		at[0].Name(), ErrTwice, at[0].Partition.Name, at[0].Partition.Location, at[1].Partition.Name, at[1].Partition.Location)
}

// GoesOn says whether the last seal in the log, if any, is for this partition.
func (e LogEnd) GoesOn(ctx context.Context) (bool, error) {
	m, err := e.Found.Load(ctx, history.Moment{Tolerant: true})
	if errors.Is(err, history.ErrBeforeFirst) {
		return true, nil // nothing was committed yet
	}
	if err != nil {
		return false, err
	}
	defer m.Close()
	seal, err := SealOf(m)
	return seal == nil || seal.To == e.Repo, err
}
