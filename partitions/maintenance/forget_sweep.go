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
	// Appeared means that a daemon has written a checkpoint with dropped content meanwhile. It was
	// removed, and daemons may be folding from it.
	Appeared bool
	// Waiting means that blocks are left that nobody names, and that are too young to be removed: they
	// may have places of dropped bodies.
	Waiting bool
	Removed Removed // blocks
}

// Complete reports whether nothing in the backup names dropped bodies any more.
func (s *Swept) Complete() bool { return !s.Appeared && !s.Waiting }

// Sweep removes the rest of the content that Forget has dropped. It is called at least BlocksGrace
// after Forget, with the same options.
func Sweep(ctx context.Context, f *repository.Found, u *repository.Upkeep, o ForgetOptions) (out Swept, err error) {
	r := newForgetter(f, u, o)
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
	if err := r.cutOff(ctx); err != nil { // a delayed request may have put an object again
		return err
	}
	changed, err := r.clean(ctx)
	out.Appeared = changed || r.done.Objects() > 0
	if err != nil || out.Appeared {
		return err
	}
	there, err := r.relist(ctx)
	if err != nil || !there {
		return err
	}
	// Whoever removes checkpoints replaces the one before the log. What it named may still be in use.
	if c, ok := r.have.checkpoint(r.have.log[0].from - 1); ok && !r.unusedSince(c.modified) {
		out.Waiting = true
		return nil
	}
	r.needed, r.stay = map[blocksID]bool{}, nil
	r.cut = history.Kept{}
	if err := r.findNeeded(ctx); err != nil {
		return err
	}
	return r.sweepBlocks(ctx, out)
}

func (r *retainer) unusedSince(t time.Time) bool {
	return !t.IsZero() && t.Before(r.now.Add(-BlocksGrace))
}

// sweepBlocks removes the objects of records/ that nothing names.
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
		if !ofCheckpoints { // it has no places
			if !r.old(b) || !b.modified.Before(r.limit) {
				continue
			}
			if named == nil {
				if named, err = r.namedByLog(ctx); err != nil {
					return err
				}
			}
			if named[b.id] {
				continue
			}
		} else if !r.unusedSince(b.modified) {
			out.Waiting = true
			continue
		}
		if err := r.store.Delete(ctx, key); err != nil {
			return err
		}
		out.Removed.add(b.size)
	}
	return nil
}
