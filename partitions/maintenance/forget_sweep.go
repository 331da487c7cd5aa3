package maintenance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
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
// after Forget, with the same options.
func Sweep(ctx context.Context, f *repository.Found, u *repository.Upkeep, o ForgetOptions) (out Swept, err error) {
	r := newForgetter(f, u, o)
	r.sweeps = true
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
	if err := r.setLate(ctx); err != nil {
		return err
	}
	if err := r.cutOff(ctx); err != nil { // a delayed request may have put an object again
		return err
	}
	changed, err := r.scrub(ctx)
	if out.Appeared = changed || r.done.Objects() > 0; out.Appeared {
		out.wait(r.now.Add(BlocksGrace), "a checkpoint with the content has appeared, and was removed: a daemon may be using it")
	}
	if err != nil || out.Appeared {
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
	// Whoever removes checkpoints replaces the one before the log. What it named may still be in use.
	if c, ok := r.have.checkpoint(r.have.log[0].from - 1); ok && !r.unusedSince(c.modified) {
		out.wait(c.modified.Add(BlocksGrace), "the checkpoint before its log was replaced: a daemon may be using the former one")
		return nil
	}
	r.needed, r.stay = map[blocksID]bool{}, nil
	r.cut = history.Kept{}
	if err := r.findNeeded(ctx); err != nil {
		return err
	}
	return r.sweepBlocks(ctx, out)
}

// setLate makes late the time of a copy of the bucket, if that is later: the objects that were copied have that time.
// Nothing else puts backup.json again, apart from a repair.
func (r *retainer) setLate(ctx context.Context) error {
	info, err := r.store.Stat(ctx, repository.BackupInfoKey(r.f.Path))
	if errors.Is(err, objstore.ErrNotExist) {
		return nil
	}
	if at := info.Modified.Add(BlocksGrace); err == nil && !r.late.IsZero() && at.After(r.late) {
		r.late = at
	}
	return err
}

func (r *retainer) unusedSince(t time.Time) bool {
	return !t.IsZero() && t.Before(r.now.Add(-BlocksGrace))
}

// sweepBlocks removes the objects of records/ that nothing names, and that may have dropped content.
func (r *retainer) sweepBlocks(ctx context.Context, out *Swept) error {
	var named map[blocksID]bool // by the log
	for _, b := range r.have.blocks {
		if r.needed[b.id] || !r.suspect(b.modified) {
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
		switch {
		case !ofCheckpoints && named[b.id]:
			continue
		case !ofCheckpoints && !r.old(b): // the commit that names it may follow
			out.wait(b.modified.Add(r.o.LogMinAge), "records that no commit names are too young to be removed")
			continue
		case ofCheckpoints && !r.unusedSince(b.modified):
			out.wait(b.modified.Add(BlocksGrace), "records that no checkpoint names are too young to be removed")
			continue
		}
		if err := r.store.Delete(ctx, key); err != nil {
			return err
		}
		out.Removed.add(b.size)
	}
	return nil
}
