package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

const (
	// holdsTries is how often a change of holds.json is repeated after another program's.
	holdsTries = 50
	// mostHolds limits the holds of a backup, so that holds.json stays small.
	mostHolds = 100
	// mostReason limits the bytes of a reason.
	mostReason = 1000
)

// PlaceHold adds a hold from now on, unless it exists already. A program that is removing
// something at that moment may not have seen it: call AwaitUpkeep afterwards.
func (f *Found) PlaceHold(ctx context.Context, x Hold, now func() time.Time) error {
	if len(x.Reason) > mostReason {
		return fmt.Errorf("the reason has %d bytes, at most %d are allowed", len(x.Reason), mostReason)
	}
	at, err := f.timeOfHold(ctx, now)
	if err != nil {
		return err
	}
	x.Since = at
	return f.changeHolds(ctx, true, func(h *Holds) (bool, error) {
		changed := h.add(x)
		if changed && len(h.Holds) > mostHolds {
			return false, fmt.Errorf("%s has %d holds already: release them first", f.Where(), mostHolds)
		}
		return changed, nil
	})
}

// AnyHold matches every hold.
func AnyHold(Hold) bool { return true }

// ReleaseHolds ends the holds that match, and returns them.
func (f *Found) ReleaseHolds(ctx context.Context, now func() time.Time, match func(Hold) bool) (ended []Hold, err error) {
	at, err := f.timeOfHold(ctx, now)
	if err != nil {
		return nil, err
	}
	err = f.changeHolds(ctx, true, func(h *Holds) (bool, error) {
		if !slices.ContainsFunc(h.Holds, match) {
			ended = nil
			return false, nil
		}
		ended = h.release(at, match)
		return true, nil
	})
	return ended, err
}

// CopyHolds adds the holds of a backup to those of its copy in another place. A hold that was
// released in one of the two ends in the copy.
func CopyHolds(ctx context.Context, from, to *Found, conditional bool) error {
	h, _, _, err := from.holdsAnyway(ctx)
	if err != nil || len(h.Holds) == 0 && h.Released.IsZero() {
		return err
	}
	return to.changeHolds(ctx, conditional, func(there *Holds) (bool, error) { return there.merge(h), nil })
}

// timeOfHold returns the store's time, if the store is able to keep concurrent changes of
// holds.json apart.
func (f *Found) timeOfHold(ctx context.Context, now func() time.Time) (time.Time, error) {
	h := newHolder(f.Partition.Store, HoldsKey(f.Path), "", nil, LockOptions{Now: now})
	if err := f.Partition.canLock(ctx, h.Options.Now); err != nil {
		return time.Time{}, err
	}
	at, err := h.Now(ctx)
	return at.UTC(), err
}

// changeHolds replaces holds.json until change finds nothing to do.
func (f *Found) changeHolds(ctx context.Context, conditional bool, change func(*Holds) (bool, error)) error {
	var failed error // of the last put
	for range holdsTries {
		h, etag, mend, err := f.holdsAnyway(ctx)
		if err != nil {
			return errors.Join(failed, err)
		}
		changed, err := change(h)
		switch {
		case err != nil || !changed && !mend:
			return err
		case failed != nil && !errors.Is(failed, objstore.ErrPrecondition) && !errors.Is(failed, objstore.ErrExist):
			return failed // the put was refused, or its answer lost, and it had no effect
		}
		if failed = f.putHolds(ctx, h, etag, conditional); failed == nil {
			return nil
		}
	}
	return fmt.Errorf("%s: other programs changed it %d times in a row: try again: %w", HoldsKey(f.Path), holdsTries, failed)
}

// holdsAnyway reads holds.json. An unreadable one counted as a hold, so a hold replaces it:
// mend is then true.
func (f *Found) holdsAnyway(ctx context.Context) (h *Holds, etag string, mend bool, err error) {
	h, info, err := f.readHolds(ctx)
	if !errors.Is(err, history.ErrCorrupt) {
		return h, info.ETag, false, err
	}
	lost := Hold{Kind: HoldPlaced, By: "ctl_backups", Reason: "holds.json was unreadable: any hold may have been in it", Since: info.Modified.UTC()}
	return &Holds{Version: holdsVersion, Holds: []Hold{lost}}, info.ETag, true, nil
}

// putHolds puts holds.json if it still has the ETag; "" = if it does not exist.
func (f *Found) putHolds(ctx context.Context, h *Holds, etag string, conditional bool) error {
	b, err := h.encode()
	if err != nil {
		return err
	}
	o := objstore.PutOptions{IfAbsent: etag == "", IfMatch: etag}
	if !conditional {
		o = objstore.PutOptions{}
	}
	_, err = f.Partition.Store.Put(ctx, HoldsKey(f.Path), bytes.NewReader(b), o)
	return err
}
