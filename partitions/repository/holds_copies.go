package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
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
		more, err := c.release(ctx, f, match)
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

// heldCopies returns the other copies of the backup with holds. An error about some of them comes with the others.
func (f *Found) heldCopies(ctx context.Context, parts []Config) (held []heldCopy, errs error) {
	if f.Aside != "" || len(parts) < 2 {
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

// release combines the holds with those of the backup in use, and ends the matching ones from before. The time of the release
// is that of the backup in use: the clock of this store may be ahead, and a later hold must survive a move back.
func (c *heldCopy) release(ctx context.Context, inUse *Found, match func(Hold) bool) (ended []Hold, err error) {
	if c.unreadable && !match(c.holds[0]) {
		return nil, nil // any hold may have been in it
	}
	now, _, _, err := inUse.holdsAnyway(ctx)
	if err != nil {
		return nil, err
	}
	err = c.changeHolds(ctx, true, func(h *Holds) (changed bool, _ error) {
		ended = nil
		was := slices.Clone(h.Holds)
		changed = h.merge(now)
		h.Holds = slices.DeleteFunc(h.Holds, func(x Hold) bool { return match(x) && slices.ContainsFunc(c.holds, x.same) })
		for _, x := range was {
			if match(x) && !slices.ContainsFunc(h.Holds, x.repeats) {
				ended = append(ended, x)
			}
		}
		return changed || len(h.Holds) != len(was), nil
	})
	return ended, err
}

// same reports whether y is the same hold, placed at the same time.
func (x Hold) same(y Hold) bool { return x.repeats(y) && x.Since.Equal(y.Since) }
