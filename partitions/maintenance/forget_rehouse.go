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
// A daemon goes on writing checkpoints, so that some object has such blocks at any time. Therefore the first Sweep
// remembers which objects have some: no daemon has had a state with dropped content since, so nothing else can have any.
// The names of objects are the hashes of their bytes. The times of objects would not do: a copy of the bucket, or a
// restore of some objects, changes them.

// StaleBlocks are the objects of records/ that may have dropped content: at a time when the checkpoints had none, and no
// daemon had a state with any, they had blocks that no checkpoint named.
type StaleBlocks struct {
	At  time.Time  // store time
	IDs [][32]byte // the hashes in their keys, ascending
}

func (s *StaleBlocks) has(id blocksID) bool {
	_, found := slices.BinarySearchFunc(s.IDs, id, func(a [32]byte, id blocksID) int { return slices.Compare(a[:], id[:]) })
	return found
}

// findStale finds the stale blocks, unless they are known.
func (r *retainer) findStale(ctx context.Context) error {
	if r.stale != nil {
		return nil
	}
	if there, err := r.relist(ctx); err != nil || !there {
		r.stale = &StaleBlocks{At: r.now}
		return err
	}
	named, objects, err := r.namedBlocks(ctx)
	if err != nil {
		return err
	}
	found := &StaleBlocks{At: r.now}
	for _, b := range r.have.blocks {
		key := history.RecordsKey(r.f.Path, b.id)
		is := !objects[key]
		if !is {
			if is, err = r.hasUnnamed(ctx, key, named); err != nil {
				return err
			}
		}
		if is {
			found.IDs = append(found.IDs, b.id)
		}
	}
	if r.found != nil {
		if err := r.found(ctx, found); err != nil {
			return err
		}
	}
	r.stale = found
	return nil
}

// rehouse puts the blocks of checkpoints into new objects, if they share a stale one with blocks that no checkpoint
// names. It reports whether it has changed anything.
func (r *retainer) rehouse(ctx context.Context) (changed bool, err error) {
	if there, err := r.relist(ctx); err != nil || !there || r.have.log[0].from == 1 && r.messages == nil {
		return false, err
	}
	shared, err := r.sharedObjects(ctx)
	if err != nil || len(shared) == 0 {
		return false, err
	}
	if r.moving != nil {
		if err := r.moving(ctx); err != nil {
			return false, err
		}
	}
	for _, c := range r.have.checkpoints {
		did, err := r.rehouseOne(ctx, c.number, shared)
		if err != nil {
			return changed, fmt.Errorf("checkpoint %d: %w", c.number, err)
		}
		changed = changed || did
	}
	return changed, nil
}

// sharedObjects returns the stale objects that have blocks which a checkpoint names, and others.
func (r *retainer) sharedObjects(ctx context.Context) (map[string]bool, error) {
	named, objects, err := r.namedBlocks(ctx)
	if err != nil {
		return nil, err
	}
	shared := map[string]bool{}
	for object := range objects {
		if !r.stale.has(blocksOf(object)) {
			continue
		}
		is, err := r.hasUnnamed(ctx, object, named)
		if err != nil {
			return nil, err
		}
		if is {
			shared[object] = true
		}
	}
	return shared, nil
}

// hasUnnamed reports whether an object has a block that no checkpoint names.
func (r *retainer) hasUnnamed(ctx context.Context, object string, named map[string]bool) (bool, error) {
	sums, err := history.BlocksIn(ctx, r.store, object)
	return slices.ContainsFunc(sums, func(sum string) bool { return !named[blockKey(object, sum)] }), err
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

func (r *retainer) rehouseOne(ctx context.Context, n uint64, shared map[string]bool) (changed bool, err error) {
	m, err := history.ReadCheckpoint(ctx, r.store, r.f.Path, n)
	if err != nil {
		return false, err
	}
	defer m.Close()
	obsolete := func(object string) bool { return shared[object] }
	if !m.NamesBlocksIn(obsolete) {
		return false, nil
	}
	if err := m.Rehouse(obsolete); err != nil {
		return false, err
	}
	p := proof{retainer: r, m: m, seen: map[string]bool{}}
	return true, p.write(ctx, n)
}
