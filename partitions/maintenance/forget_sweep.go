package maintenance

import (
	"context"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// BlocksGrace is how long blocks stay that no checkpoint names any more: a daemon may be folding from
// a removed checkpoint, and gives up after twelve hours.
const BlocksGrace = 13 * time.Hour

// Swept is the result of Sweep.
type Swept struct {
	// Appeared means that a daemon has written a checkpoint with dropped content meanwhile, or that a delayed
	// request has put an object again. It was removed, and daemons may be using it.
	Appeared bool
	// Moved means that blocks without dropped content were put into other objects.
	Moved bool
	// Waiting is why objects are left that may have dropped content; "" = none are.
	Waiting string
	Until   time.Time // when they can be removed, if nothing else happens; zero = unknown
	Removed Removed   // blocks
}

// Complete reports whether nothing in the backup has or names dropped content any more.
func (s *Swept) Complete() bool { return s.Waiting == "" }

// wait notes why something is left, and until when.
func (s *Swept) wait(until time.Time, why string) {
	if s.Waiting == "" || until.After(s.Until) {
		s.Waiting, s.Until = why, until
	}
}

// Sweep removes the rest of the content that Forget has dropped. It is called at least BlocksGrace
// after Forget, and after a Sweep that has reported Appeared, with the same options.
func Sweep(ctx context.Context, f *repository.Found, u *repository.Upkeep, o ForgetOptions) (out Swept, err error) {
	r := newForgetter(f, u, o)
	r.sweeps, r.stale, r.found, r.since = true, o.Stale, o.Found, o.Since
	ctx, end := during(ctx, u)
	defer end()
	if err = r.sweepForgotten(ctx, &out); err != nil {
		err = fmt.Errorf("%s: %w", f.Name(), r.explained(ctx, err))
	}
	return out, err
}

func (r *retainer) sweepForgotten(ctx context.Context, out *Swept) (err error) {
	if r.now, err = r.storeNow(ctx); err != nil {
		return err
	}
	changed, err := r.dropAgain(ctx, out)
	if out.Appeared = changed || r.done.Objects() > 0; out.Appeared {
		out.wait(r.now.Add(BlocksGrace), "a checkpoint with the content has appeared, and was removed: a daemon may be using it")
	}
	if err != nil || !out.Complete() {
		return err
	}
	if err := r.findStale(ctx); err != nil {
		return err
	}
	if out.Moved, err = r.rehouse(ctx); out.Moved {
		out.wait(r.now.Add(BlocksGrace), "objects with the content and with other records were replaced: a daemon may be using them")
	}
	if err != nil || out.Moved {
		return err
	}
	there, err := r.relist(ctx)
	if err != nil || !there {
		return err
	}
	if until := r.usedUntil(); until.After(r.now) {
		out.wait(until, "one of its checkpoints was replaced: somebody may be using the former one")
		return nil
	}
	r.needed, r.stay = map[blocksID]bool{}, nil
	r.cut = history.Kept{}
	if err := r.findNeeded(ctx); err != nil {
		return err
	}
	return r.sweepBlocks(ctx, out)
}

// usedUntil returns when nobody is using the former version of a checkpoint any more. Whoever removes checkpoints
// replaces the one before the log, and daemons may be using that. Relocate promises a day to readers of the others,
// too, but does nothing after the erasure has begun.
func (r *retainer) usedUntil() (until time.Time) {
	base := r.have.log[0].from - 1
	for _, c := range r.have.checkpoints {
		put, grace := r.putBefore(c.modified), BlocksGrace
		replaced := r.have.settledBefore(c.number, put.Add(-putSlowly))
		if replaced && c.number != base && put.Before(r.since) {
			grace = retainEvery
		}
		if end := put.Add(grace); (replaced || c.number == base) && end.After(until) {
			until = end
		}
	}
	return until
}

// dropAgain drops content that has appeared again: a delayed request may have put an object. It reports whether it has
// changed anything.
func (r *retainer) dropAgain(ctx context.Context, out *Swept) (changed bool, err error) {
	if r.messages != nil {
		return r.redactAgain(ctx, out)
	}
	if err := r.cutOff(ctx); err != nil {
		return false, err
	}
	return r.scrub(ctx)
}

// aheadMargin is how far the time of an object may be ahead of the store's.
const aheadMargin = 15 * time.Minute

// putBefore returns the time of an object that was there when the stale blocks were found. While a clock was wrong, the
// object may have got a time in the future.
func (r *retainer) putBefore(t time.Time) time.Time {
	if t.IsZero() || t.After(r.now.Add(aheadMargin)) {
		return r.stale.At
	}
	return t
}

// sweepBlocks removes the objects of records/ that nothing names. It waits for objects that may have dropped content.
func (r *retainer) sweepBlocks(ctx context.Context, out *Swept) error {
	var named map[blocksID]bool // by the log
	for _, b := range r.have.blocks {
		if r.needed[b.id] {
			continue
		}
		key := history.RecordsKey(r.f.Path, b.id)
		ofCheckpoints, err := history.OfCheckpoints(ctx, r.store, key)
		if err != nil {
			return err
		}
		if !ofCheckpoints && named == nil {
			if named, err = r.namedByLog(ctx); err != nil {
				return err
			}
		}
		if !ofCheckpoints && named[b.id] {
			continue
		}
		grace, why := BlocksGrace, "records that no checkpoint names are too young to be removed"
		if !ofCheckpoints { // the commit that names it may follow
			grace, why = r.o.LogMinAge, "records that no commit names are too young to be removed"
		}
		put, stale := b.modified, r.stale.has(b.id)
		if stale {
			put = r.putBefore(put)
		}
		if put.IsZero() || put.After(r.now.Add(-grace)) {
			if stale {
				out.wait(put.Add(grace), why)
			}
			continue
		}
		if err := r.store.Delete(ctx, key); err != nil {
			return err
		}
		out.Removed.add(b.size)
	}
	return nil
}
