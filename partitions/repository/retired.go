package repository

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// ErrNoteEnds reports that a request to remove the note about a pack may be on its way. It has arrived two hours later.
var ErrNoteEnds = errors.New("the note about it is being removed: try again two hours later")

const (
	// endsSoon is how long a note may be relied on since it ends. A collection that begins a day after that may remove
	// it, and does not see what is put after its count.
	endsSoon = 20 * time.Hour
	// removalArrives is how long a request to remove a note may be on its way.
	removalArrives = 2 * time.Hour
	// keepTries is how often the list is replaced.
	keepTries = 10
)

// KeepNotes makes notes in moved/ stay, on behalf of a program that relies on them. has reports whether it relies on the
// note about a pack. Everything that names these packs is durable: a collection that begins from now on finds it. An
// earlier one may have counted before. So KeepNotes takes the packs off the list of notes that nothing needs, and that
// collection cannot put its own list any more. since is when the program has first asked for a note, or has put one;
// zero = long ago. now is the time of the store. again means that a note may have been removed since then, and has to be
// looked for again. The error is ErrNoteEnds if that has to wait.
func KeepNotes(ctx context.Context, s objstore.Store, since, now time.Time, has func(pack string) bool) (again bool, err error) {
	k := &noteKeeper{store: s, since: since, now: now, has: has}
	var last error
	for range keepTries {
		ends, err := k.read(ctx)
		if history.IsUnreadable(err) {
			err = k.damaged(ctx)
		}
		if err != nil || !ends {
			return k.again, err
		}
		// After it, the list is read again: a collection may have come first, or the answer may be lost.
		if last = k.takeOff(ctx); last != nil && !mayReplace(last) {
			return k.again, last
		}
	}
	return k.again, fmt.Errorf("take packs off %s, %d times: %w", history.RetiredKey, keepTries, errors.Join(last, objstore.ErrPrecondition))
}

// mayReplace reports whether a conditional put may succeed if the object is read again.
func mayReplace(err error) bool {
	return objstore.IsTemporary(err) || errors.Is(err, objstore.ErrPrecondition) || errors.Is(err, objstore.ErrNotExist)
}

// noteKeeper is a call of KeepNotes.
type noteKeeper struct {
	store      objstore.Store
	since, now time.Time
	has        func(pack string) bool
	again      bool
}

// read reads the list. ends reports whether a collection that has counted before may remove a note that is needed.
func (k *noteKeeper) read(ctx context.Context) (ends bool, err error) {
	list, err := history.OpenRetired(ctx, k.store)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, list.Close()) }()
	if err := k.begun(list.Lost, history.RetiredKey); err != nil {
		return false, err
	}
	for n, err := range list.Notes() {
		if err != nil {
			return false, err
		}
		key := history.PackKey(n.Pack)
		if !k.has(key) {
			continue
		}
		ends = ends || !n.Ending.IsZero() && k.now.Sub(n.Ending) > endsSoon
		if err := k.begun(n.Removed, key); err != nil {
			return false, err
		}
	}
	return ends, nil
}

// begun handles a removal that has begun, of the note about a pack.
func (k *noteKeeper) begun(at time.Time, what string) error {
	if at.IsZero() || at.Add(removalArrives).Before(k.since) {
		return nil
	}
	if k.again = true; at.Add(removalArrives).Before(k.now) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, ErrNoteEnds)
}

// damaged handles a damaged list. No collection can read it, so that no removal begins. A collection that has begun one
// before has put the list before.
func (k *noteKeeper) damaged(ctx context.Context) error {
	info, err := k.store.Stat(ctx, history.RetiredKey)
	if errors.Is(err, objstore.ErrNotExist) {
		return fmt.Errorf("%s: %w", history.RetiredKey, ErrNoteEnds) // two answers that differ
	}
	if err != nil {
		return err
	}
	return k.begun(info.Modified, history.RetiredKey)
}

// takeOff replaces the list by one in which the notes wait from the start.
func (k *noteKeeper) takeOff(ctx context.Context) (err error) {
	list, err := history.OpenRetired(ctx, k.store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, list.Close()) }()
	to, err := history.NewRetiredFile(list.Lost)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	for n, err := range list.Notes() {
		if err == nil {
			if k.has(history.PackKey(n.Pack)) {
				n.Unused, n.Ending = time.Time{}, time.Time{}
			}
			err = to.Add(n)
		}
		if err != nil {
			return err
		}
	}
	body, err := to.Body()
	if err != nil {
		return err
	}
	_, err = k.store.Put(ctx, history.RetiredKey, body, objstore.PutOptions{IfMatch: list.Info.ETag, IfAbsent: list.Info.ETag == ""})
	return err
}
