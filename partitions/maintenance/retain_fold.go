package maintenance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// fold computes the states at the moments to be kept from the log, writes their checkpoints and
// proves them. A checkpoint that exists already is not believed.
func (r *retainer) fold(ctx context.Context) error {
	m, err := history.Resume(ctx, r.store, r.f.Path, r.base, r.now)
	if err != nil {
		return err
	}
	defer m.Close()
	m.RelocatePlaces(func(p history.Place) (history.Place, error) { return r.repacked(ctx, p) })
	p := proof{retainer: r, m: m, seen: map[string]bool{}}
	// The blocks of the base were read when it was written. It is enough that they still exist.
	for object, sum := range m.Blocks() {
		p.seen[blockKey(object, sum)] = true
		if !r.have.hasBlocks(blocksOf(object)) {
			return fmt.Errorf("%s: %w: checkpoint %d needs it: run ctl_backups verify", object, history.ErrAbsent, r.base)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(r.stay)) {
		if n <= r.base {
			continue
		}
		for c, err := range r.log().CommitsAfter(ctx, m.Tip(), n) {
			if err == nil {
				err = m.Apply(c)
			}
			if err != nil {
				return err
			}
		}
		if err := p.checkpoint(ctx, n); err != nil {
			return fmt.Errorf("checkpoint %d: %w", n, err)
		}
		r.done.Written++
	}
	return nil
}

// blockKey is the key of Mem.CheckBlocks.
func blockKey(object, sum string) string { return object + " " + sum }

// proof writes and proves checkpoints along a fold.
type proof struct {
	*retainer
	m    *history.Mem
	seen map[string]bool // blocks that were read
}

// checkpoint writes the state as checkpoint n, reads it back, and compares.
func (p *proof) checkpoint(ctx context.Context, n uint64) error {
	if err := p.reuse(ctx, n); err != nil {
		return err
	}
	return p.write(ctx, n)
}

// write writes the state as checkpoint n, reads it back, and compares.
func (p *proof) write(ctx context.Context, n uint64) error {
	if _, err := p.m.WriteCheckpoint(ctx, p.o.Pack); err != nil {
		return err
	}
	return p.readBack(ctx, n)
}

// replace writes the checkpoint n that the state was read from with other places, if it still has an ETag, and reads it
// back. The error is errOtherVersion if it has another one.
func (p *proof) replace(ctx context.Context, n uint64, etag string) error {
	put := p.m.ReplaceCheckpoint(ctx, p.o.Pack, etag, func() error { return nil })
	err := p.readBack(ctx, n) // the put may have succeeded without an answer
	if err != nil && errors.Is(put, objstore.ErrPrecondition) {
		return errOtherVersion
	}
	if err != nil {
		return errors.Join(put, err)
	}
	return nil
}

// readBack reads checkpoint n, and compares it with the state.
func (p *proof) readBack(ctx context.Context, n uint64) error {
	there, err := history.ReadCheckpoint(ctx, p.store, p.f.Path, n)
	if err != nil {
		return err
	}
	defer there.Close()
	diff, err := there.Difference(p.m)
	if err == nil && diff != "" {
		err = fmt.Errorf("%w: read back, it differs from the state of the log: %s", history.ErrCorrupt, diff)
	}
	if err != nil {
		return err
	}
	same, err := there.SamePlaces(p.m)
	if err == nil && !same {
		err = fmt.Errorf("%w: read back, it has other places", history.ErrCorrupt)
	}
	if err != nil {
		return err
	}
	var bad error
	err = there.CheckBlocks(ctx, p.seen, func(object string, err error) { bad = errors.Join(bad, err) })
	for object := range there.Blocks() {
		p.need(object)
	}
	return errors.Join(err, bad)
}

// reuse takes the sound blocks of a checkpoint n that exists already.
func (p *proof) reuse(ctx context.Context, n uint64) error {
	if _, ok := p.have.checkpoint(n); !ok {
		return nil
	}
	old, err := history.ReadCheckpoint(ctx, p.store, p.f.Path, n)
	if history.IsUnreadable(err) {
		return nil // it is replaced
	}
	if err != nil {
		return err
	}
	defer old.Close()
	for object := range old.Blocks() {
		p.need(object) // somebody may be reading this version
	}
	diff, err := old.Difference(p.m)
	if err != nil {
		return err
	}
	if diff != "" && p.base > 0 {
		// Both follow from the log. The base, which cannot be checked any more, may be wrong.
		return fmt.Errorf("%w: it differs from the state of the log after checkpoint %d: %s: run ctl_backups verify --repair", history.ErrCorrupt, p.base, diff)
	}
	damaged := map[string]bool{}
	if err := old.CheckBlocks(ctx, p.seen, func(object string, _ error) { damaged[object] = true }); err != nil {
		return err
	}
	return p.m.Reuse(old, func(object, sum string) bool { return !damaged[object] && p.seen[blockKey(object, sum)] })
}

func (r *retainer) need(object string) {
	if r.needed == nil {
		r.needed = map[blocksID]bool{}
	}
	r.needed[blocksOf(object)] = true
}

// findNeeded reads which objects with blocks the checkpoints name, also those that this run removes:
// somebody may be reading them. Every object of a checkpoint that stays must exist.
func (r *retainer) findNeeded(ctx context.Context) error {
	for _, c := range r.have.checkpoints {
		stays := c.number > r.cut.Number || r.stay[c.number]
		m, err := history.ReadCheckpoint(ctx, r.store, r.f.Path, c.number)
		if history.IsUnreadable(err) && !stays {
			continue
		}
		if err != nil {
			return err
		}
		for object := range m.Blocks() {
			known := r.needed[blocksOf(object)] || r.have.hasBlocks(blocksOf(object))
			if stays && !known && err == nil {
				_, err = r.store.Stat(ctx, object) // put since the listing
			}
			r.need(object)
		}
		if err = errors.Join(err, m.Close()); err != nil {
			return fmt.Errorf("checkpoint %d: %w: run ctl_backups verify", c.number, err)
		}
	}
	return nil
}
