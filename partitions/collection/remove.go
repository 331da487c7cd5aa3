package collection

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

const (
	// removeTime bounds the requests that remove a pack. They end well inside the lease.
	removeTime = 30 * time.Second
	// removedAge is how long a removed pack stays on the list. A writer may have asked for the
	// pack some minutes before it reads the list.
	removedAge = 2 * time.Hour
)

// remove deletes packs. They stay on the list.
func (p *pass) remove(ctx context.Context, packs []objstore.Info) error {
	if len(packs) == 0 {
		return nil
	}
	// The count may have taken hours.
	if _, err := p.certain(ctx); err != nil {
		return err
	}
	l := condemnedNow{store: p.store}
	for _, info := range packs {
		// The list may be lost or replaced during a long removal: others may name the packs
		// that are not on it.
		if on, err := l.has(ctx, info.Key); err != nil {
			return err
		} else if !on {
			continue
		}
		if err := p.removeOne(ctx, info.Key); err != nil {
			return err
		}
		p.out.Removed.add(info.Size)
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

func (p *pass) removeOne(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, removeTime)
	defer cancel()
	if err := p.noteRemoved(ctx, key); err != nil {
		return err
	}
	if err := p.lease.Check(); err != nil {
		return err
	}
	return p.store.Delete(ctx, key)
}

// noteRemoved puts a note that drops all entries of a pack, or puts the present note again: its
// age is that of the removal. The index of a daemon may know the pack for years, and must not
// conclude from its absence that the bucket was restored to an older state. Nothing ever
// removes a note, because a delayed request could remove a newer one.
func (p *pass) noteRemoved(ctx context.Context, pack string) error {
	key, _ := history.MovedKey(pack)
	var last error
	for range listTries {
		m, info, err := history.ReadMoved(ctx, p.store, pack)
		o := objstore.PutOptions{IfMatch: info.ETag}
		if errors.Is(err, objstore.ErrNotExist) {
			m, err = &history.Moved{Version: history.Version, Pack: pack, Entries: map[string]string{}}, nil
			o = objstore.PutOptions{IfAbsent: true}
		}
		if err != nil {
			return errors.Join(err, last)
		}
		m.Time = p.began.UTC()
		b, err := m.Append(nil)
		if err != nil {
			return err
		}
		if err := p.lease.Check(); err != nil {
			return err
		}
		if _, last = p.store.Put(ctx, key, bytes.NewReader(b), o); last == nil {
			return nil
		}
		if !mayRepeat(last) {
			return last
		}
	}
	return fmt.Errorf("put %s %d times: %w", key, listTries, last)
}

// mayRepeat reports whether a conditional put may succeed if the object is read again.
func mayRepeat(err error) bool {
	return objstore.IsTemporary(err) || errors.Is(err, objstore.ErrPrecondition) || errors.Is(err, objstore.ErrExist)
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
