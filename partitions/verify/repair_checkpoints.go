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

// checkpoints rebuilds damaged checkpoints and their blocks. It removes checkpoints that
// cannot be rebuilt, after it has written a newer one.
func (r *repairer) checkpoints(ctx context.Context) error {
	r.step("rebuilding checkpoints")
	useless, err := r.rebuild(ctx)
	if err != nil {
		return err
	}
	if len(useless) > 0 || len(r.diagnosis.log) > 0 {
		err := r.newCheckpoint(ctx)
		if errors.Is(err, history.ErrNoBeginning) {
			r.report(Unchanged, "backups/"+r.f.Path, "%v: nothing is removed. Set the backup aside (ctl_backups set-aside), so that the mail server sends everything again", err)
			return nil
		}
		if err != nil {
			return err
		}
	}
	kept, err := r.lastKept(ctx)
	if err != nil {
		return err
	}
	for _, n := range useless {
		if n <= kept {
			continue // what can be read of this moment is nowhere else
		}
		key := history.CheckpointKey(r.f.Path, n)
		if err := r.store.Delete(ctx, key); err != nil {
			return err
		}
		r.report(Repaired, key, "removed: the log before it is incomplete, and a newer checkpoint replaces it")
	}
	return r.unsoundBlocks(ctx)
}

// lastKept returns the checkpoint that has the state before a log whose beginning retention has
// removed, or 0. Nothing else has the moments up to it.
func (r *repairer) lastKept(ctx context.Context) (uint64, error) {
	first, err := r.f.Log().First(ctx)
	if err != nil {
		return 0, err
	}
	n, err := r.f.Log().Beginning(ctx)
	return max(n, max(first, 1)-1), err
}

// rebuild rebuilds checkpoints, and returns the ones that cannot be rebuilt.
func (r *repairer) rebuild(ctx context.Context) (useless []uint64, err error) {
	bad := maps.Clone(r.diagnosis.differ)
	maps.Copy(orNew(&bad), r.diagnosis.checkpoints)
	for _, n := range slices.Sorted(maps.Keys(bad)) {
		m, err := r.rehoused(ctx, n)
		if err == nil && m == nil && !r.lost(n) {
			m, err = r.replayed(ctx, n)
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
		r.report(Repaired, history.CheckpointKey(r.f.Path, n), "rebuilt")
	}
	return useless, nil
}

// lost reports whether the log records a commit as lost. An object may still have a commit with this number, of another history:
// readers ignore a checkpoint with its state.
func (r *repairer) lost(n uint64) bool {
	return slices.ContainsFunc(slices.Concat(r.diagnosis.log, r.diagnosis.bridged), func(l history.LostRange) bool { return l.From <= n && n <= l.To })
}

func orNew(m *map[uint64]bool) map[uint64]bool {
	if *m == nil {
		*m = map[uint64]bool{}
	}
	return *m
}

// rehoused returns the state of a checkpoint with all blocks in sound objects, ready to be
// written again. It returns nil if the checkpoint or one of its blocks is unreadable.
func (r *repairer) rehoused(ctx context.Context, n uint64) (*history.Mem, error) {
	if r.diagnosis.differ[n] {
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

// replayed returns the state after commit n from an earlier checkpoint and the log, or nil
// if the log is incomplete.
func (r *repairer) replayed(ctx context.Context, n uint64) (*history.Mem, error) {
	for _, fromLog := range []bool{false, true} {
		m, err := r.replayTo(ctx, n, fromLog)
		if err == nil && m.NamesBlocksIn(r.unsound) {
			err = errors.Join(history.ErrCorrupt, m.Close())
		}
		if err == nil || !history.IsUnreadable(err) && !errors.Is(err, history.ErrBeforeFirst) && !errors.Is(err, history.ErrNotKept) {
			return m, err
		}
	}
	return nil, nil
}

func (r *repairer) replayTo(ctx context.Context, n uint64, fromLog bool) (m *history.Mem, err error) {
	if n == 1 {
		m, err = history.NewMem(ctx, r.store, r.f.Path)
	} else {
		m, err = r.f.Load(ctx, history.Moment{Number: n - 1, FromLog: fromLog})
	}
	if err != nil {
		return nil, err
	}
	// Not CommitsAfter: only with the next commits, readers know which of two commits with this number belongs to the log.
	for c, err := range r.f.Log().CommitsToEnd(ctx, m.Tip()) {
		if err == nil {
			err = m.Apply(c)
		}
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
		if m.Tip().Number == n {
			return m, nil
		}
	}
	return nil, errors.Join(history.ErrAbsent, m.Close())
}

// newCheckpoint writes a checkpoint of the newest state.
func (r *repairer) newCheckpoint(ctx context.Context) error {
	m, err := soundState(ctx, r.f, r.unsound)
	if err != nil {
		return err
	}
	defer m.Close()
	c, err := m.WriteCheckpoint(ctx, r.o.Pack)
	if err == nil {
		r.report(Repaired, history.CheckpointKey(r.f.Path, c.Number), "written, so that readers skip the damaged part of the log")
	}
	return err
}

// unsoundBlocks removes damaged objects with blocks, after the checkpoints have been
// rebuilt without them. An object that the log refers to is rewritten with its readable
// blocks.
func (r *repairer) unsoundBlocks(ctx context.Context) error {
	named, err := r.namedByLog(ctx)
	if err == nil {
		err = r.namedByKept(ctx, named)
	}
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
			r.report(Repaired, key, "removed: no checkpoint refers to it any more")
			continue
		}
		if err := r.salvageBlocks(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

func (r *repairer) salvageBlocks(ctx context.Context, key string) error {
	body, etag, drop, err := repository.ReadWhole(ctx, r.store, key)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil // reported as not repaired
	}
	if err != nil {
		return err
	}
	defer drop()
	w := pack.NewWriter(nil, r.o.Pack)
	if _, err := history.Salvage(body, body.Size(), w.Add); err != nil {
		return err
	}
	obj, err := w.Finish()
	if err != nil {
		return err
	}
	if _, err := r.store.Put(ctx, key, bytes.NewReader(obj), objstore.PutOptions{IfMatch: etag}); err != nil {
		return err
	}
	r.report(Repaired, key, "rewritten with its readable blocks")
	return nil
}

// namedByLog returns the objects with blocks that commits refer to. It returns none if no
// object is damaged.
func (r *repairer) namedByLog(ctx context.Context) (map[string]bool, error) {
	named := map[string]bool{}
	if !slices.Contains(slices.Collect(maps.Values(r.blocks)), false) {
		return named, nil
	}
	newest, err := r.f.HighestNumber(ctx)
	if err != nil {
		return nil, err
	}
	first, err := r.f.Log().First(ctx)
	if err != nil {
		return nil, err
	}
	for n := max(first, 1); n <= newest; n++ {
		err := r.blocksOf(ctx, n, named)
		if err != nil && !history.IsDamage(err) {
			return nil, err
		}
	}
	return named, nil
}

// namedByKept adds the damaged objects that checkpoints from before the log name.
func (r *repairer) namedByKept(ctx context.Context, named map[string]bool) error {
	kept, err := r.lastKept(ctx)
	if err != nil {
		return err
	}
	for _, n := range slices.Sorted(maps.Keys(r.diagnosis.checkpoints)) {
		if n > kept {
			break
		}
		m, err := history.ReadCheckpoint(ctx, r.store, r.f.Path, n)
		if history.IsUnreadable(err) {
			continue
		}
		if err != nil {
			return err
		}
		for object := range m.Blocks() {
			named[object] = true
		}
		if err := m.Close(); err != nil {
			return err
		}
	}
	return nil
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
