package collection

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Named is the packs that have bodies of some backups, now or formerly.
type Named struct {
	// Unread are objects that could not be read: packs that only they named are missing. At most
	// MostBlocked of them are kept.
	Unread []BlockedError
	// Unreadable is the number of all of them.
	Unreadable int

	store objstore.Store
	packs *packSet
	noted *packSet      // of packs, those with a note
	bad   map[Pack]bool // packs with an unreadable note
	only  func(history.ChunkID) bool
}

// Name finds the packs of the backups with these prefixes, in backups/ or set-aside/. It reads
// every object, whether a checkpoint needs it or not, and continues after damage. The caller
// closes the result.
func Name(ctx context.Context, s objstore.Store, prefixes []string) (*Named, error) {
	return NameChunks(ctx, s, prefixes, func(history.ChunkID) bool { return true })
}

// NameChunks is Name for the packs with some chunks only.
func NameChunks(ctx context.Context, s objstore.Store, prefixes []string, only func(history.ChunkID) bool) (_ *Named, err error) {
	n := &Named{store: s, packs: newPackSet(packsOfAll), noted: newPackSet(packsOfAll), bad: map[Pack]bool{}, only: only}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	add := func(p history.Place) error {
		if id, ok := packOf(p.Object); ok {
			return n.packs.add(id)
		}
		return nil
	}
	for _, prefix := range prefixes {
		if err := n.each(ctx, prefix, true, add); err != nil {
			return nil, err
		}
	}
	return n, n.followAll(ctx, prefixes)
}

// followAll follows the notes until no pack that was found has another one: while a pack waits for its
// removal, a note leads to it, and its own note to the next pack.
func (n *Named) followAll(ctx context.Context, prefixes []string) error {
	for noted, steps := 0, 1; ; steps++ {
		if err := n.findNotes(ctx); err != nil {
			return err
		}
		packs, err := n.withNotes()
		if err != nil || len(packs) == noted {
			return err
		}
		if steps == mostSteps {
			return errCircle
		}
		if err := n.follow(ctx, prefixes, packs); err != nil {
			return err
		}
		noted = len(packs)
	}
}

// withNotes returns the packs with a note: 32 bytes for each pack of these backups that was rewritten.
func (n *Named) withNotes() (packs []Pack, err error) {
	for p, err := range n.noted.sorted() {
		if err != nil {
			return nil, err
		}
		packs = append(packs, p)
	}
	return packs, nil
}

// Close frees the temporary files.
func (n *Named) Close() error { return errors.Join(n.packs.close(), n.noted.close()) }

// Packs yields the packs in order, each once.
func (n *Named) Packs() iter.Seq2[Pack, error] { return n.packs.sorted() }

// each calls fn for each place in the objects of a backup. report says whether damage is noted.
func (n *Named) each(ctx context.Context, prefix string, report bool, fn func(history.Place) error) error {
	for info, err := range n.store.List(ctx, prefix, "") {
		if err != nil {
			return err
		}
		err := n.object(ctx, parseObject(prefix, info), fn)
		switch {
		case err == nil:
		case !history.IsDamage(err):
			return err
		case report:
			n.unread(info.Key, err)
		}
	}
	return nil
}

func (n *Named) unread(key string, err error) {
	if n.Unreadable++; len(n.Unread) < MostBlocked {
		n.Unread = append(n.Unread, BlockedError{key, err})
	}
}

func (n *Named) object(ctx context.Context, o object, fn func(history.Place) error) error {
	if o.kind == kindUnknown {
		return fmt.Errorf("%w: this program does not know such objects", history.ErrCorrupt)
	}
	return eachPlaceIn(ctx, n.store, o, func(p history.Place) error {
		if !n.only(p.Chunk) {
			return nil
		}
		return fn(p)
	})
}

// eachPlaceIn calls fn for each place in an object of a backup, if such objects have places.
func eachPlaceIn(ctx context.Context, s objstore.Store, o object, fn func(history.Place) error) error {
	var places iter.Seq2[history.Place, error]
	switch o.kind {
	case kindLog:
		places = history.LogPlaces(ctx, s, o.Key)
	case kindBlocks:
		places = history.ObjectPlaces(ctx, s, o.Key)
	default:
		return nil
	}
	for p, err := range places {
		if err == nil {
			err = fn(p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// findNotes finds the packs that have a note.
func (n *Named) findNotes(ctx context.Context) error {
	next, stop := iter.Pull2(n.packs.sorted())
	defer stop()
	p, err, more := next()
	for info, lerr := range n.store.List(ctx, movedPrefix, "") {
		if lerr != nil {
			return lerr
		}
		about, ok := noteOf(info.Key)
		for ok && err == nil && more && comparePacks(p, about) < 0 {
			p, err, more = next()
		}
		if err != nil || !more {
			return err
		}
		if ok && p == about {
			if err := n.noted.add(about); err != nil {
				return err
			}
		}
	}
	return err
}

// follow adds the packs that the notes about some packs lead to from an entry that the backups name. A
// note about a pack has entries of other backups, too.
func (n *Named) follow(ctx context.Context, prefixes []string, noted []Pack) error {
	objects := history.NewObjects(n.store, 0)
	step := func(p history.Place) (now history.Place, led bool, err error) {
		id, ok := packOf(p.Object)
		if _, found := slices.BinarySearchFunc(noted, id, comparePacks); !ok || !found {
			return p, false, nil
		}
		now, err = objects.Resolve(ctx, p)
		switch {
		case errors.Is(err, history.ErrNoPlace):
			return p, false, nil // dropped
		case history.IsDamage(err):
			if !n.bad[id] {
				key, _ := history.MovedKey(p.Object)
				n.unread(key, err)
				n.bad[id] = true
			}
			return p, false, nil
		case err != nil:
			return p, false, err
		}
		if id, ok := packOf(now.Object); ok {
			err = n.packs.add(id)
		}
		return now, true, err
	}
	lead := func(p history.Place) error {
		for range mostSteps {
			now, led, err := step(p)
			if err != nil || !led {
				return err
			}
			p = now
		}
		return errCircle
	}
	for _, prefix := range prefixes {
		if err := n.each(ctx, prefix, false, lead); err != nil {
			return err
		}
	}
	return nil
}
