package collection

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// removedAge is how long a removed pack stays on the list. A writer may have asked for the
// pack some minutes before it reads the list.
const removedAge = 2 * time.Hour

// waiting takes the packs off do.remove that must wait for a night, and returns those about which there is
// no note of this removal yet. A pack may have been condemned although it was used, and then it has had
// no grace: retention may have dropped its last entry just before the count.
func (p *pass) waiting(ctx context.Context, do *sorted) (unnoted []objstore.Info, err error) {
	if p.last == nil || p.last.Sparse.Packs == 0 {
		return nil, nil // the last pass has found every pack on the list unused
	}
	var remove []objstore.Info
	for _, info := range do.remove {
		at, err := p.notedAt(ctx, info.Key, do.since[info.Key])
		switch {
		case err != nil:
			return nil, err
		case do.erased[info.Key] || !at.IsZero() && at.Add(droppedAge).Before(p.began):
			remove = append(remove, info)
			continue
		case at.IsZero():
			unnoted = append(unnoted, info)
		}
		p.out.Condemned.sub(Amount{1, info.Size})
		p.out.Sparse.add(info.Size) // so that the next pass knows
	}
	do.remove = remove
	return unnoted, nil
}

// notedAt returns when a pack was noted as rewritten, or unused, since it was condemned; zero if it was not.
func (p *pass) notedAt(ctx context.Context, key string, since time.Time) (time.Time, error) {
	m, note, err := history.ReadMoved(ctx, p.store, key)
	switch {
	case errors.Is(err, objstore.ErrNotExist):
		return time.Time{}, nil
	case err != nil:
		return time.Time{}, err
	case m.Unused == nil || !*m.Unused || !note.Modified.After(since):
		return time.Time{}, nil
	}
	return note.Modified, nil
}

// noteUnused notes that unused packs will be removed. They stay for a night.
func (p *pass) noteUnused(ctx context.Context, packs []objstore.Info) error {
	l := condemnedNow{store: p.store}
	for _, info := range packs {
		on, err := l.has(ctx, info.Key)
		if err == nil && on {
			err = p.noteRemoved(ctx, info.Key, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remove deletes unused packs. They stay on the list.
func (p *pass) remove(ctx context.Context, packs []objstore.Info, leads *leadSet) error {
	if len(packs) == 0 {
		return nil
	}
	// The count may have taken hours.
	if _, err := p.certain(ctx); err != nil {
		return err
	}
	notes, err := notesTo(leads, packs)
	if err != nil {
		return err
	}
	for len(packs) > 0 {
		var group []objstore.Info
		group, packs = nextGroup(packs, math.MaxInt64, nil, notes)
		older, err := leadingTo(leads, group)
		if err == nil {
			err = p.removeGroup(ctx, group, older)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *pass) removeGroup(ctx context.Context, packs []objstore.Info, older map[Pack][]Pack) error {
	l := condemnedNow{store: p.store}
	for _, info := range packs {
		// The list may be lost or replaced during a long removal: others may name the packs
		// that are not on it.
		if on, err := l.has(ctx, info.Key); err != nil {
			return err
		} else if !on {
			continue
		}
		id, _ := packOf(info.Key)
		err := p.removeOne(ctx, info.Key, nil, older[id])
		if removed, err := p.removed(ctx, info.Key, err); err != nil {
			return err
		} else if removed {
			p.out.Removed.add(info.Size)
		}
	}
	return nil
}

// condemnedNow is condemned.json as it is now.
type condemnedNow struct {
	store objstore.Store
	list  *history.Condemned
	etag  string
}

// has reports whether a pack is on the list. It reads the list only if it has changed.
func (c *condemnedNow) has(ctx context.Context, key string) (bool, error) {
	now, err := c.store.Stat(ctx, history.CondemnedKey)
	if errors.Is(err, objstore.ErrNotExist) {
		return false, nil
	}
	if err == nil && (c.list == nil || now.ETag != c.etag) {
		c.list, now, err = history.ReadCondemned(ctx, c.store)
		c.etag = now.ETag
	}
	if err != nil {
		return false, err
	}
	return c.list.Has(key), nil
}

// removeOne removes a pack: the entries in now are in other packs, and the others are dropped.
// older are the packs about which there are notes that lead to it. The notes are right before
// the pack is removed.
func (p *pass) removeOne(ctx context.Context, key string, now map[string]string, older []Pack) error {
	if err := p.noteRemoved(ctx, key, now); err != nil {
		return err
	}
	for _, about := range older {
		if err := p.noteAgain(ctx, about, key, now); err != nil {
			return err
		}
	}
	if err := p.lease.Check(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, removeTime)
	defer cancel()
	if err := p.store.Delete(ctx, key); err != nil {
		return fmt.Errorf("%w: %w", errDelete, err)
	}
	return nil
}

// errDelete reports that only the deletion of a pack has failed.
var errDelete = errors.New("it could not be deleted")

// mostStuck is how many deletions in a row may fail.
const mostStuck = 100

// removed reports whether a pack was removed. The error ends the pass. If only the deletion has failed,
// the others continue.
func (p *pass) removed(ctx context.Context, key string, err error) (bool, error) {
	if err == nil {
		p.stuck = 0
		return true, nil
	}
	if p.stuck++; !errors.Is(err, errDelete) || ctx.Err() != nil || p.stuck == mostStuck {
		return false, err
	}
	p.out.keep(key, err)
	return false, nil
}

// longGone returns the packs on the list that were removed some time ago.
func (p *pass) longGone(ctx context.Context, absent map[string]time.Time) (map[string]bool, error) {
	gone := map[string]bool{}
	for key, since := range absent {
		_, err := p.store.Stat(ctx, key)
		if err == nil {
			continue // put since the packs were listed
		}
		if !errors.Is(err, objstore.ErrNotExist) {
			return nil, err
		}
		note, ok := history.MovedKey(key)
		if !ok {
			gone[key] = true // no pack
			continue
		}
		info, err := p.store.Stat(ctx, note)
		switch {
		case err == nil:
			gone[key] = info.Modified.Add(removedAge).Before(p.began)
		case errors.Is(err, objstore.ErrNotExist): // something else has removed it
			gone[key] = since.Add(orphanAge).Before(p.began)
		default:
			return nil, err
		}
	}
	return gone, nil
}
