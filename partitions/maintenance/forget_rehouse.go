package maintenance

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// An object of records/ has several blocks. As long as a checkpoint names one of them, the object stays,
// also with blocks that no checkpoint names any more, which may have dropped content: records, messages, and places
// that keep bodies from being collected.
//
// A daemon goes on writing checkpoints, so that some object has such blocks at any time. In an object that was put when
// no daemon could have dropped content any more (late), they are harmless.

// rehouse puts the blocks of checkpoints into new objects, if they share one with blocks that no checkpoint names. It
// reports whether it has changed anything.
func (r *retainer) rehouse(ctx context.Context) (changed bool, err error) {
	if there, err := r.relist(ctx); err != nil || !there || r.have.log[0].from == 1 {
		return false, err
	}
	stale, err := r.staleObjects(ctx)
	if err != nil || len(stale) == 0 {
		return false, err
	}
	if r.moving != nil {
		if err := r.moving(ctx); err != nil {
			return false, err
		}
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

// staleObjects returns objects with needed blocks whose needed blocks have to move. With late, these are all that may
// have dropped content, if any of them has a block that nothing names: otherwise each checkpoint of a daemon would
// make another one stale.
func (r *retainer) staleObjects(ctx context.Context) (map[string]bool, error) {
	named, objects, err := r.namedBlocks(ctx)
	if err != nil {
		return nil, err
	}
	stale, suspect := map[string]bool{}, map[string]bool{}
	for object := range objects {
		if !r.suspect(r.putAt(object)) {
			continue
		}
		suspect[object] = true
		sums, err := history.BlocksIn(ctx, r.store, object)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(sums, func(sum string) bool { return !named[blockKey(object, sum)] }) {
			stale[object] = true
		}
	}
	if len(stale) > 0 && !r.late.IsZero() {
		return suspect, nil
	}
	return stale, nil
}

// namedBlocks returns the blocks that the checkpoints name, and their objects.
func (r *retainer) namedBlocks(ctx context.Context) (named, objects map[string]bool, err error) {
	named, objects = map[string]bool{}, map[string]bool{}
	for _, c := range r.have.checkpoints {
		m, err := history.ReadCheckpoint(ctx, r.store, r.f.Path, c.number)
		if err != nil {
			return nil, nil, err
		}
		for object, sum := range m.Blocks() {
			named[blockKey(object, sum)], objects[object] = true, true
		}
		if err := m.Close(); err != nil {
			return nil, nil, err
		}
	}
	return named, objects, nil
}

// suspect reports whether an object that was put at a time may have dropped content; zero = unknown.
func (r *retainer) suspect(put time.Time) bool { return r.late.IsZero() || !put.After(r.late) }

// putAt returns when an object with blocks was put; an object that was not listed was put since.
func (r *retainer) putAt(object string) time.Time {
	i, ok := r.have.findBlocks(blocksOf(object))
	if !ok {
		return r.now
	}
	return r.have.blocks[i].modified
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
