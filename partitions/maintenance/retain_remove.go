package maintenance

import (
	"cmp"
	"context"
	"slices"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// guarded asks before each change of the store.
type guarded struct {
	objstore.Store
	mayChange func() error
}

// Put implements objstore.Store.
func (g guarded) Put(ctx context.Context, key string, body objstore.Body, o objstore.PutOptions) (objstore.Info, error) {
	if err := g.mayChange(); err != nil {
		return objstore.Info{}, err
	}
	return g.Store.Put(ctx, key, body, o)
}

// Delete implements objstore.Store.
func (g guarded) Delete(ctx context.Context, key string) error {
	if err := g.mayChange(); err != nil {
		return err
	}
	return g.Store.Delete(ctx, key)
}

// DeleteVersion implements objstore.Store.
func (g guarded) DeleteVersion(ctx context.Context, v objstore.Version) error {
	if err := g.mayChange(); err != nil {
		return err
	}
	return g.Store.DeleteVersion(ctx, v)
}

func (r *retainer) mayChange() error { return r.upkeep.Check() }

// remove removes the checkpoints and the log that are not kept. At any time, the log can be folded
// from a proven checkpoint: the former base, until the log after it begins to disappear, and then
// the cut, which is the next one that is left.
func (r *retainer) remove(ctx context.Context) error {
	if _, err := r.storeNow(ctx); err != nil { // the clock may have been set since
		return err
	}
	if err := r.removeCheckpoints(ctx, func(n uint64) bool { return n > r.base }); err != nil {
		return err
	}
	for _, o := range r.doomedLog() {
		if err := r.store.Delete(ctx, o.key(r.f.Path)); err != nil {
			return err
		}
		r.done.Log.add(o.size)
	}
	if err := r.removeCheckpoints(ctx, func(n uint64) bool { return n <= r.base }); err != nil {
		return err
	}
	if r.forget { // blocks may be those of checkpoints that were removed a moment ago: see Sweep
		return nil
	}
	return r.removeBlocks(ctx)
}

// doomedLog returns the objects of the log up to the cut in the order of removal.
func (r *retainer) doomedLog() []logObject {
	out := slices.DeleteFunc(slices.Clone(r.have.log), func(o logObject) bool { return o.to > r.cut.Number })
	slices.SortStableFunc(out, func(a, b logObject) int { return cmp.Or(cmp.Compare(a.to, b.to), cmp.Compare(a.from, b.from)) })
	return out
}

func (r *retainer) removeCheckpoints(ctx context.Context, chosen func(n uint64) bool) error {
	for _, c := range r.have.checkpoints {
		if c.number >= r.cut.Number || r.stay[c.number] || !chosen(c.number) {
			continue
		}
		if err := r.store.Delete(ctx, history.CheckpointKey(r.f.Path, c.number)); err != nil {
			return err
		}
		r.done.Checkpoints.add(c.size)
	}
	return nil
}

// sweep removes the blocks that an earlier run has left for readers of the checkpoints that it
// removed. Without changes of the mail, no later run removes anything else.
func (r *retainer) sweep(ctx context.Context) error {
	if r.base == 0 || r.base+1 != r.have.log[0].from { // an interrupted run may have just removed checkpoints
		return nil
	}
	if !slices.ContainsFunc(r.have.blocks, r.old) {
		return nil
	}
	if err := r.findNeeded(ctx); err != nil {
		return err
	}
	if !slices.ContainsFunc(r.have.blocks, func(b blocksObject) bool { return r.old(b) && !r.needed[b.id] }) {
		return nil
	}
	if _, err := r.storeNow(ctx); err != nil {
		return err
	}
	return r.removeBlocks(ctx)
}

// old reports whether an object with blocks is too old to be part of a checkpoint that a daemon is
// just writing.
func (r *retainer) old(b blocksObject) bool {
	return !b.modified.IsZero() && !b.modified.After(r.now.Add(-r.o.LogMinAge))
}

// removeBlocks removes the objects of records/ that nothing names, unless a checkpoint was replaced
// lately: the former version may have named them.
func (r *retainer) removeBlocks(ctx context.Context) error {
	if r.have.replaced(r.now) {
		return nil
	}
	var named map[blocksID]bool // by the log
	asked := r.o.Erasing == nil
	for _, b := range r.have.blocks {
		if r.needed[b.id] || !r.old(b) {
			continue
		}
		if !asked {
			if open, err := r.o.Erasing(ctx, r.f); err != nil || open {
				return err
			}
			asked = true
		}
		key := history.RecordsKey(r.f.Path, b.id)
		ofCheckpoints, err := history.OfCheckpoints(ctx, r.store, key)
		if err != nil {
			return err
		}
		if !ofCheckpoints {
			if !b.modified.Before(r.limit) {
				continue // its commit came later, and is in the log
			}
			if named == nil {
				if named, err = r.namedByLog(ctx); err != nil {
					return err
				}
			}
			if named[b.id] {
				continue
			}
		}
		if err := r.store.Delete(ctx, key); err != nil {
			return err
		}
		r.done.Records.add(b.size)
	}
	return nil
}

// namedByLog returns the objects with blocks that the rest of the log names.
func (r *retainer) namedByLog(ctx context.Context) (map[blocksID]bool, error) {
	named := map[blocksID]bool{}
	newest, err := r.log().Newest(ctx, r.have.newest)
	if err != nil {
		return nil, err
	}
	for c, err := range r.log().Commits(ctx, max(r.cut.Number+1, r.have.log[0].from), newest) {
		if err != nil {
			return nil, err
		}
		for e, err := range c.Events() {
			if err != nil {
				return nil, err
			}
			blocks, ok := e.(*history.RecordBlocksEvent)
			if !ok {
				continue
			}
			for _, b := range blocks.Blocks {
				named[blocksOf(b.Object)] = true
			}
		}
	}
	return named, nil
}

// preview sets the result of a dry run.
func (r *retainer) preview(ctx context.Context) error {
	if _, _, err := r.events(ctx); err != nil || r.cut.Number == 0 {
		return err
	}
	r.done.Log = r.have.upTo(r.cut.Number)
	if err := r.findNeeded(ctx); err != nil {
		return err
	}
	for n := range r.stay {
		if _, ok := r.have.checkpoint(n); !ok || n > r.base {
			r.done.Written++
		}
	}
	for _, c := range r.have.checkpoints {
		if c.number < r.cut.Number && !r.stay[c.number] {
			r.done.Checkpoints.add(c.size)
		}
	}
	for _, b := range r.have.blocks {
		if !r.needed[b.id] && b.modified.Before(r.now.Add(-r.o.LogMinAge)) {
			r.done.Records.add(b.size)
		}
	}
	return nil
}
