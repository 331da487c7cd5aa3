package maintenance

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// An object of records/ has several blocks. As long as a checkpoint names one of them, the object stays,
// also with a block of places that no checkpoint names any more. Its places keep bodies from being
// collected.

// rehouse puts the blocks of checkpoints into new objects, if they share one with a block of places
// that no checkpoint names. It reports whether it has changed anything.
func (r *retainer) rehouse(ctx context.Context) (changed bool, err error) {
	if there, err := r.relist(ctx); err != nil || !there {
		return false, err
	}
	stale, err := r.staleObjects(ctx)
	if err != nil || len(stale) == 0 {
		return false, err
	}
	for _, c := range r.have.checkpoints {
		did, err := r.rehouseOne(ctx, c.number, stale)
		if err != nil {
			return changed, fmt.Errorf("checkpoint %d: %w", c.number, err)
		}
		changed = changed || did
	}
	return changed, nil
}

// staleObjects returns the objects with a needed block, and a block of places that nothing names.
func (r *retainer) staleObjects(ctx context.Context) (stale map[string]bool, err error) {
	named, objects := map[string]bool{}, map[string]bool{}
	for _, c := range r.have.checkpoints {
		m, err := history.ReadCheckpoint(ctx, r.store, r.f.Path, c.number)
		if err != nil {
			return nil, err
		}
		for object, sum := range m.Blocks() {
			named[blockKey(object, sum)], objects[object] = true, true
		}
		if err := m.Close(); err != nil {
			return nil, err
		}
	}
	stale = map[string]bool{}
	for object := range objects {
		sums, err := history.PlaceBlocks(ctx, r.store, object)
		if err != nil {
			return nil, err
		}
		for _, sum := range sums {
			if !named[blockKey(object, sum)] {
				stale[object] = true
			}
		}
	}
	return stale, nil
}

func (r *retainer) rehouseOne(ctx context.Context, n uint64, stale map[string]bool) (changed bool, err error) {
	m, err := history.ReadCheckpoint(ctx, r.store, r.f.Path, n)
	if err != nil {
		return false, err
	}
	defer m.Close()
	isStale := func(object string) bool { return stale[object] }
	if !m.NamesBlocksIn(isStale) {
		return false, nil
	}
	if err := m.Rehouse(isStale); err != nil {
		return false, err
	}
	p := proof{retainer: r, m: m, seen: map[string]bool{}}
	return true, p.write(ctx, n)
}
