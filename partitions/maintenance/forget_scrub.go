package maintenance

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// After the cut, the checkpoint before the log has tombstones of everything that was deleted before
// it. The prune event at the end of the log drops them from later states only. So that no body stays
// because of them, they are dropped from that checkpoint, too, except for what the log refers to. The
// state after the prune event is the same as before: that is proven first.

// scrubTries is how often scrub puts a prune event because the last one was not enough.
const scrubTries = 3

// scrub drops content that was deleted before the limit from the checkpoints that are left. It reports
// whether it has changed anything.
func (r *retainer) scrub(ctx context.Context) (changed bool, err error) {
	for range scrubTries {
		there, err := r.relist(ctx)
		if err != nil || !there || r.have.log[0].from == 1 {
			return changed, err
		}
		if err := r.sound(ctx); err != nil {
			return changed, err
		}
		again, did, err := r.scrubOnce(ctx)
		changed = changed || did
		if err != nil || !again {
			return changed, err
		}
		r.cut = history.Kept{} // the removal was recorded
		if err := r.beginCutting(ctx); err != nil {
			return changed, err
		}
		if _, err := r.record(ctx); err != nil {
			return changed, err
		}
		changed = true
	}
	return changed, errors.New("its state changes too fast: run erase again")
}

// scrubOnce reports whether a prune event has to be put first.
func (r *retainer) scrubOnce(ctx context.Context) (again, changed bool, err error) {
	full, err := history.Resume(ctx, r.store, r.f.Path, r.base, r.now)
	if err != nil {
		return false, false, err
	}
	defer full.Close()
	newest, err := r.log().Newest(ctx, r.have.newest)
	if err != nil {
		return false, false, err
	}
	later := history.NewLater(r.limit)
	if err := later.Fold(full, r.log().CommitsAfter(ctx, full.Tip(), newest)); err != nil {
		return false, false, err
	}
	doomed, again, err := r.trial(ctx, full, later)
	if err != nil || again {
		return again, false, err
	}
	for _, n := range doomed {
		if err := r.beginCutting(ctx); err != nil {
			return false, changed, err
		}
		if err := r.removeCheckpoint(ctx, n); err != nil {
			return false, changed, err
		}
		changed = true
	}
	did, err := r.replaceBase(ctx, full, later, len(doomed) > 0)
	if err != nil {
		return false, changed, err
	}
	changed = changed || did
	for _, c := range r.have.checkpoints {
		if c.number >= r.base {
			break
		}
		did, err := r.replaceMoment(ctx, c.number)
		if err != nil {
			return false, changed, err
		}
		changed = changed || did
	}
	return false, changed, nil
}

// trial folds the log from the base without the dropped content, and changes nothing. It returns the
// checkpoints that have other states. again means that the newest state is another one, so that
// writers may still refer to what would be dropped.
func (r *retainer) trial(ctx context.Context, full *history.Mem, later *history.Later) (doomed []uint64, again bool, err error) {
	clean, _, err := r.cleanBase(ctx, later)
	if err != nil {
		return nil, false, err
	}
	defer clean.Close()
	for _, c := range slices.Concat(r.have.checkpoints, []checkpointObject{{number: full.Tip().Number}}) {
		if c.number <= r.base || c.number > full.Tip().Number {
			continue
		}
		if err := r.foldTo(ctx, clean, c.number); err != nil {
			return nil, false, err
		}
		if _, ok := r.have.checkpoint(c.number); !ok {
			continue
		}
		differs, err := r.differs(ctx, clean, c.number)
		if err != nil {
			return nil, false, err
		}
		if differs && (len(doomed) == 0 || doomed[len(doomed)-1] != c.number) {
			doomed = append(doomed, c.number)
		}
	}
	diff, err := full.Difference(clean)
	return doomed, diff != "", err
}

// cleanBase returns the state of the base without the dropped content.
func (r *retainer) cleanBase(ctx context.Context, later *history.Later) (m *history.Mem, changed bool, err error) {
	if m, err = history.Resume(ctx, r.store, r.f.Path, r.base, r.now); err != nil {
		return nil, false, err
	}
	if changed, err = m.Forget(later); err != nil {
		return nil, false, errors.Join(err, m.Close())
	}
	return m, changed, nil
}

func (r *retainer) foldTo(ctx context.Context, m *history.Mem, n uint64) error {
	for c, err := range r.log().CommitsAfter(ctx, m.Tip(), n) {
		if err == nil {
			err = m.Apply(c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// differs reports whether a checkpoint has another state, or is unreadable.
func (r *retainer) differs(ctx context.Context, m *history.Mem, n uint64) (bool, error) {
	there, err := history.ReadCheckpoint(ctx, r.store, r.f.Path, n)
	if history.IsUnreadable(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer there.Close()
	diff, err := there.Difference(m)
	return diff != "", err
}

func (r *retainer) removeCheckpoint(ctx context.Context, n uint64) error {
	if err := r.store.Delete(ctx, history.CheckpointKey(r.f.Path, n)); err != nil {
		return err
	}
	c, _ := r.have.checkpoint(n)
	r.done.Checkpoints.add(c.size)
	return nil
}

// replaceBase puts the base without the dropped content. If that has removed checkpoints after it, it
// puts one of the newest state: a log without any is slow to read.
func (r *retainer) replaceBase(ctx context.Context, full *history.Mem, later *history.Later, newest bool) (changed bool, err error) {
	m, changed, err := r.cleanBase(ctx, later)
	if err != nil {
		return false, err
	}
	defer m.Close()
	p := proof{retainer: r, m: m, seen: map[string]bool{}}
	if changed {
		if err := r.beginCutting(ctx); err != nil {
			return false, err
		}
		if err := p.write(ctx, r.base); err != nil {
			return false, fmt.Errorf("checkpoint %d: %w", r.base, err)
		}
	}
	if !newest {
		return changed, nil
	}
	if err := r.foldTo(ctx, m, full.Tip().Number); err != nil {
		return changed, err
	}
	diff, err := full.Difference(m)
	if err == nil && diff != "" {
		err = fmt.Errorf("%w: the state after commit %d differs: %s", history.ErrCorrupt, full.Tip().Number, diff)
	}
	if err == nil {
		err = p.write(ctx, full.Tip().Number)
	}
	return changed, err
}

// replaceMoment drops the content from a single moment before the log.
func (r *retainer) replaceMoment(ctx context.Context, n uint64) (changed bool, err error) {
	m, err := history.ReadCheckpoint(ctx, r.store, r.f.Path, n)
	if err != nil {
		return false, err
	}
	defer m.Close()
	if changed, err = m.Forget(history.NewLater(r.limit)); err != nil || !changed {
		return false, err
	}
	if err := r.beginCutting(ctx); err != nil {
		return false, err
	}
	p := proof{retainer: r, m: m, seen: map[string]bool{}}
	if err := p.write(ctx, n); err != nil {
		return false, fmt.Errorf("checkpoint %d: %w", n, err)
	}
	return true, nil
}
