package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// heldCopy is a copy that a move has left in another partition, with its holds before a release.
type heldCopy struct {
	*Found
	holds      []Hold
	unreadable bool // holds.json, which counts as a hold
}

// Release ends the holds of a backup that match, and returns them. Those of copies that moves have left in other partitions end,
// too: nobody can name these copies, and a hold of a copy forbids an erasure. A hold that is placed meanwhile stays. Whoever repeats
// an interrupted Release completes it.
func Release(ctx context.Context, parts []Config, f *Found, now func() time.Time, match func(Hold) bool) (ended []Hold, err error) {
	copies, cerr := f.heldCopies(ctx, parts)
	if ended, err = f.ReleaseHolds(ctx, now, match); err != nil {
		return ended, err
	}
	for _, c := range copies {
		more, err := c.release(ctx, f, LockOptions{Now: now}, match)
		if err != nil {
			cerr = errors.Join(cerr, fmt.Errorf("partition %s: %w", c.Partition.Name, err))
			continue
		}
		for _, x := range more {
			if !slices.ContainsFunc(ended, x.repeats) {
				ended = append(ended, x)
			}
		}
	}
	if cerr != nil {
		cerr = fmt.Errorf("it was released in partition %s, but a copy that a move has left in another one may still be on hold: repeat release: %w", f.Partition.Name, cerr)
	}
	return ended, cerr
}

// heldCopies returns the other copies of the backup with holds. Without an id, nothing shows that they are copies. An error about some
// of them comes with the others.
func (f *Found) heldCopies(ctx context.Context, parts []Config) (held []heldCopy, errs error) {
	if f.Aside != "" || f.Info.ID == "" || len(parts) < 2 {
		return nil, nil
	}
	copies, unasked, err := CopiesOf(ctx, parts, f.Name())
	if err != nil {
		return nil, err
	}
	for _, u := range unasked {
		errs = errors.Join(errs, u)
	}
	for _, c := range copies {
		if c.Partition.Name == f.Partition.Name || c.Info.ID != f.Info.ID {
			continue
		}
		h, _, unreadable, err := c.holdsAnyway(ctx)
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("partition %s: %w", c.Partition.Name, err))
		} else if len(h.Holds) > 0 {
			held = append(held, heldCopy{c, h.Holds, unreadable})
		}
	}
	return held, errs
}

// errOtherBackup reports that the backup of a copy is no longer in its place.
var errOtherBackup = errors.New("another backup, or none, is in the place of the copy")

// release ends the holds that match and were there before, and returns them. The other holds stay, and begin after the release of the
// backup in use: otherwise a move back would end them. The time is that of the backup in use, because the clock of this store may be
// ahead, and a later hold must survive a move back.
func (c *heldCopy) release(ctx context.Context, inUse *Found, o LockOptions, match func(Hold) bool) (ended []Hold, err error) {
	matches := slices.ContainsFunc(c.holds, match)
	if c.unreadable && !matches {
		return nil, nil // any hold may have been in it
	}
	now, _, _, err := inUse.holdsAnyway(ctx)
	if err != nil {
		return nil, err
	}
	if !matches && !slices.ContainsFunc(c.holds, func(x Hold) bool { return !x.Since.After(now.Released) }) {
		return nil, nil
	}
	o.SetDefaults()
	if err := c.Partition.canLock(ctx, o.Now); err != nil {
		return nil, err
	}
	err = c.changeHolds(ctx, true, func(h *Holds) (changed bool, _ error) {
		ended, changed = h.releaseCopy(now.Released, func(x Hold) bool { return match(x) && slices.ContainsFunc(c.holds, x.same) })
		return changed, c.inPlace(ctx)
	})
	if errors.Is(err, errOtherBackup) {
		return nil, nil // it has been set aside, erased or repaired meanwhile
	}
	return ended, err
}

// inPlace returns errOtherBackup unless the backup is still in its place.
func (c *heldCopy) inPlace(ctx context.Context) error {
	info, err := ReadBackupInfo(ctx, c.unlistedStore(), c.Path)
	switch {
	case errors.Is(err, objstore.ErrNotExist):
		return errOtherBackup
	case err == nil && info.ID != c.Info.ID:
		return errOtherBackup
	}
	return err
}

// releaseCopy removes the holds that match from those of a copy. The others begin after the release of the backup in use. changed is
// false if there is none of either.
func (h *Holds) releaseCopy(released time.Time, match func(Hold) bool) (ended []Hold, changed bool) {
	h.Released = latest(h.Released, released)
	kept := []Hold{}
	for _, x := range h.Holds {
		if match(x) {
			ended, changed = append(ended, x), true
			continue
		}
		if !x.Since.After(h.Released) {
			x.Placed, x.Since, changed = x.placed(), h.Released.Add(1), true
		}
		kept = append(kept, x)
	}
	h.Holds = kept
	return ended, changed
}

// same reports whether y is the same hold, placed at the same time.
func (x Hold) same(y Hold) bool { return x.repeats(y) && x.placed().Equal(y.placed()) }
