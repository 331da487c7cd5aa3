package partitions

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

// errSealed: the log of the backup has ended here.
var errSealed = errors.New("the backup is sealed: it was moved or erased, see ctl_backups(8)")

// sealedIn is the newest seal that a state knows; nil = none.
func sealedIn(st history.State) (*history.SealedEvent, error) {
	i, err := st.Item(history.ItemKey{Kind: history.ItemSealed})
	if i == nil || err != nil {
		return nil, err
	}
	return i.Event.(*history.SealedEvent), nil
}

// living is the one of a backup's copies in which it goes on; nil when there are none. A
// single one is not asked anything.
func living(ctx context.Context, copies []*Found) (*Found, error) {
	if len(copies) < 2 {
		for _, f := range copies {
			return f, nil
		}
		return nil, nil
	}
	var at []logEnd // of those that may be it
	var newest uint64
	for _, f := range copies {
		end, err := f.logEnd(ctx)
		if err != nil {
			return nil, err
		}
		newest = max(newest, end.tip.Number)
		if !end.sealed() {
			at = append(at, end)
		}
	}
	switch {
	case len(at) > 1:
		return unsealed(ctx, at)
	case len(at) == 0 || at[0].tip.Number < newest:
		return nil, fmt.Errorf("the backup of %s %w", copies[0].Name(), errHalfMoved)
	}
	return at[0].found, nil
}

// errHalfMoved: neither partition has all of it and no seal.
var errHalfMoved = fmt.Errorf("is half moved: ctl_backups move finishes it: %w", cyrus.ErrLocked)

// logEnd is the newest commit of a copy's log.
type logEnd struct {
	found *Found
	tip   history.Tip
	seal  *history.SealedEvent // in that commit; nil = there is none
	repo  string               // id of the repository that it stands in
}

// sealed says that the newest commit sends everybody away.
func (e logEnd) sealed() bool { return e.seal != nil && e.seal.To != e.repo }

func (f *Found) logEnd(ctx context.Context) (logEnd, error) {
	repo, err := readRepository(ctx, f.Partition.Store)
	if err != nil {
		return logEnd{}, fmt.Errorf("partition %s: %w", f.Partition.Name, err)
	}
	end := logEnd{found: f, repo: repo.ID}
	end.tip, end.seal, err = f.tip(ctx, 0)
	return end, err
}

// unsealed chooses among copies none of which ends with a seal, by their whole logs: one
// can be on its way back to a partition that it was moved out of before.
func unsealed(ctx context.Context, ends []logEnd) (*Found, error) {
	var at []*Found
	for _, e := range ends {
		goesOn, err := e.goesOn(ctx)
		if err != nil {
			return nil, err
		}
		if goesOn {
			at = append(at, e.found)
		}
	}
	switch len(at) {
	case 0:
		return nil, fmt.Errorf("the backup of %s %w", ends[0].found.Name(), errHalfMoved)
	case 1:
		return at[0], nil
	}
	return nil, fmt.Errorf("the backup of %s: %w, %s (%s) and %s (%s): one of them has to go, see ctl_backups(8)",
		at[0].Name(), errTwice, at[0].Partition.Name, at[0].Partition.Location, at[1].Partition.Name, at[1].Partition.Location)
}

// goesOn says whether the last seal in the log, if any, is for this partition.
func (e logEnd) goesOn(ctx context.Context) (bool, error) {
	m, err := e.found.Load(ctx, history.Moment{Tolerant: true})
	if errors.Is(err, history.ErrBeforeFirst) {
		return true, nil // nothing was committed yet
	}
	if err != nil {
		return false, err
	}
	defer m.Close()
	seal, err := sealedIn(m)
	return seal == nil || seal.To == e.repo, err
}
