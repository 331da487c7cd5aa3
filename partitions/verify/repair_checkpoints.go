package verify

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// checkpoints makes damaged checkpoints and their blocks again. What cannot be made again
// is removed, once a newer checkpoint is there.
func (r *repairer) checkpoints(ctx context.Context) error {
	r.step("making checkpoints again")
	useless, err := r.remake(ctx)
	if err != nil {
		return err
	}
	if len(useless) > 0 || len(r.what.log) > 0 {
		if err := r.newCheckpoint(ctx); err != nil {
			return err
		}
	}
	for _, n := range useless {
		key := history.CheckpointKey(r.f.Path, n)
		if err := r.store.Delete(ctx, key); err != nil {
			return err
		}
		r.report(Repaired, key, "removed: the log before it is not whole, and a newer checkpoint does its work")
	}
	return r.unsoundBlocks(ctx)
}

// remake makes checkpoints again, and returns those for which that is not possible.
func (r *repairer) remake(ctx context.Context) (useless []uint64, err error) {
	bad := maps.Clone(r.what.differ)
	maps.Copy(orNew(&bad), r.what.checkpoints)
	for _, n := range slices.Sorted(maps.Keys(bad)) {
		m, err := r.rehoused(ctx, n)
		if err == nil && m == nil {
			m, err = r.folded(ctx, n)
		}
		if err != nil {
			return nil, err
		}
		if m == nil {
			useless = append(useless, n)
			continue
		}
		_, err = m.WriteCheckpoint(ctx, r.o.Pack)
		if err := errors.Join(err, m.Close()); err != nil {
			return nil, err
		}
		r.report(Repaired, history.CheckpointKey(r.f.Path, n), "made again")
	}
	return useless, nil
}

func orNew(m *map[uint64]bool) map[uint64]bool {
	if *m == nil {
		*m = map[uint64]bool{}
	}
	return *m
}

// rehoused is the state of a checkpoint that is sound but for objects that hold its blocks;
// nil when it is not.
func (r *repairer) rehoused(ctx context.Context, n uint64) (*history.Mem, error) {
	if r.what.differ[n] {
		return nil, nil
	}
	m, err := history.ReadCheckpoint(ctx, r.store, r.f.Path, n)
	if history.IsUnreadable(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	bad := false
	err = m.CheckBlocks(ctx, map[string]bool{}, func(string, error) { bad = true })
	if err == nil && !bad {
		if err = m.Rehouse(r.unsound); err == nil {
			return m, nil
		}
	}
	return nil, errors.Join(err, m.Close())
}

// folded is the state after commit n as the log has it, from the checkpoint before; nil
// when the log does not go that far.
func (r *repairer) folded(ctx context.Context, n uint64) (*history.Mem, error) {
	for _, fromLog := range []bool{false, true} {
		m, err := r.foldTo(ctx, n, fromLog)
		if err == nil && m.NamesBlocksIn(r.unsound) {
			err = errors.Join(history.ErrCorrupt, m.Close())
		}
		if err == nil || !history.IsUnreadable(err) && !errors.Is(err, history.ErrBeforeFirst) {
			return m, err
		}
	}
	return nil, nil
}

func (r *repairer) foldTo(ctx context.Context, n uint64, fromLog bool) (m *history.Mem, err error) {
	if n == 1 {
		m, err = history.NewMem(ctx, r.store, r.f.Path)
	} else {
		m, err = r.f.Load(ctx, history.Moment{Number: n - 1, FromLog: fromLog})
	}
	if err != nil {
		return nil, err
	}
	for c, err := range r.f.Log().CommitsAfter(ctx, m.Tip(), n) {
		if err == nil {
			err = m.Apply(c)
		}
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	return m, nil
}

// newCheckpoint writes one of the newest state.
func (r *repairer) newCheckpoint(ctx context.Context) error {
	m, err := soundState(ctx, r.f, r.unsound)
	if err != nil {
		return err
	}
	defer m.Close()
	c, err := m.WriteCheckpoint(ctx, r.o.Pack)
	if err == nil {
		r.report(Repaired, history.CheckpointKey(r.f.Path, c.Number), "written: readers need not cross what is damaged")
	}
	return err
}

// unsoundBlocks removes damaged objects with blocks, which no checkpoint names any more.
// One that the log names keeps its name, with what can be read of it.
func (r *repairer) unsoundBlocks(ctx context.Context) error {
	named, err := r.namedByLog(ctx)
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(r.blocks)) {
		if r.blocks[key] {
			continue
		}
		if !named[key] {
			if err := r.store.Delete(ctx, key); err != nil {
				return err
			}
			r.report(Repaired, key, "removed: no checkpoint names it any more")
			continue
		}
		if err := r.salvageBlocks(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

func (r *repairer) salvageBlocks(ctx context.Context, key string) error {
	body, etag, drop, err := repository.Hold(ctx, r.store, key)
	if err != nil {
		return err
	}
	defer drop()
	w := pack.NewWriter(nil, r.o.Pack)
	if _, err := history.Salvage(body, body.Size(), w.Add); err != nil {
		return err
	}
	obj, _, err := w.Finish()
	if err != nil {
		return err
	}
	if _, err := r.store.Put(ctx, key, bytes.NewReader(obj), objstore.PutOptions{IfMatch: etag}); err != nil {
		return err
	}
	r.report(Repaired, key, "put again, with what can be read of it")
	return nil
}

// namedByLog are the damaged objects in which commits have records.
func (r *repairer) namedByLog(ctx context.Context) (map[string]bool, error) {
	named := map[string]bool{}
	if !slices.Contains(slices.Collect(maps.Values(r.blocks)), false) {
		return named, nil
	}
	newest, err := r.f.HighestNumber(ctx)
	if err != nil {
		return nil, err
	}
	for n := uint64(1); n <= newest; n++ {
		err := r.blocksOf(ctx, n, named)
		if err != nil && !history.IsDamage(err) {
			return nil, err
		}
	}
	return named, nil
}

func (r *repairer) blocksOf(ctx context.Context, n uint64, named map[string]bool) error {
	for c, err := range r.f.Log().Commits(ctx, n, n) {
		if err != nil {
			return err
		}
		for e, err := range c.Events() {
			if err != nil {
				return err
			}
			if e, ok := e.(*history.RecordBlocksEvent); ok {
				for _, b := range e.Blocks {
					named[b.Object] = true
				}
			}
		}
	}
	return nil
}
