package maintenance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

const (
	// mostConfirmed is how many packs are remembered.
	mostConfirmed = 1 << 12
	// confirmedFor is how long an answer about a pack or the list of condemned packs counts.
	confirmedFor = 10 * time.Minute
)

// Moved finds where the entries of removed packs are. One Moved serves the backups of a partition in a
// run. Not safe for concurrent use.
type Moved struct {
	store objstore.Store
	noted func(pack string) bool

	objects   *history.Objects
	notes     *notes
	condemned *history.Condemned
	etag      string               // of condemned
	confirmed map[string]time.Time // when a pack was last known to exist, by the clock of this host
	used      map[string]bool      // packs that places of a checkpoint lead to now
}

// NewMoved returns a Moved. noted reports whether there may be a note about a pack: no request is made
// for any other.
func NewMoved(s objstore.Store, noted func(pack string) bool) *Moved {
	return &Moved{store: s, noted: noted, objects: history.NewObjects(s, 0), notes: newNotes(mostNoteBytes), confirmed: map[string]time.Time{}}
}

// begin forgets which packs were used.
func (m *Moved) begin() { m.used = map[string]bool{} }

// now returns the place of a chunk in an existing pack that is not condemned, if a note about a removed
// pack leads there, and otherwise the same place.
func (m *Moved) now(ctx context.Context, p history.Place) (history.Place, error) {
	if !m.noted(p.Object) {
		return p, nil
	}
	note, err := m.note(ctx, p.Object)
	if err != nil || note == nil {
		return p, err
	}
	to, ok := m.notes.place(note, p.Entry)
	if _, isPack := history.MovedKey(to); !ok || !isPack {
		return p, nil
	}
	has, err := m.has(ctx, to, p.Entry)
	if err != nil || !has {
		return p, err
	}
	m.used[to] = true
	p.Object = to
	return p, nil
}

// note returns the note about a pack, or nil if the pack exists, if the note cannot be read, or if it
// does not exist. While a rewritten pack exists, its copies are not proven yet.
func (m *Moved) note(ctx context.Context, key string) (*note, error) {
	if n, known := m.notes.find(key); known {
		return n, nil
	}
	var read *history.Moved
	_, err := m.store.Stat(ctx, key)
	if errors.Is(err, objstore.ErrNotExist) {
		read, _, err = history.ReadMoved(ctx, m.store, key)
		if history.IsDamage(err) {
			read, err = nil, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return m.notes.add(key, read), nil
}

// has reports whether a pack has an entry, and is not condemned.
func (m *Moved) has(ctx context.Context, key, entry string) (bool, error) {
	if m.condemned == nil {
		if err := m.list(ctx); err != nil {
			return false, err
		}
	}
	if m.condemned.Has(key) {
		return false, nil
	}
	dir, err := m.objects.Directory(ctx, key)
	if history.IsDamage(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, ok := dir.Lookup(entry)
	return ok, nil
}

// list reads the list of condemned packs, if it has changed.
func (m *Moved) list(ctx context.Context) error {
	now, err := m.store.Stat(ctx, history.CondemnedKey)
	if errors.Is(err, objstore.ErrNotExist) {
		m.condemned, m.etag = &history.Condemned{}, ""
		return nil
	}
	if err != nil || m.condemned != nil && m.etag == now.ETag && m.etag != "" {
		return err
	}
	if m.condemned, now, err = history.ReadCondemned(ctx, m.store); err != nil {
		m.condemned = nil
		return err
	}
	m.etag = now.ETag
	return nil
}

// errLed reports that a place led to a pack that is to be removed. A later run finds another one.
var errLed = errors.New("a note led to a pack that is condemned or gone")

// confirm returns an error if one of the packs that were used since begin is condemned now, or is gone.
func (m *Moved) confirm(ctx context.Context) error {
	if err := m.list(ctx); err != nil {
		return err
	}
	for key := range m.used {
		if m.condemned.Has(key) {
			return fmt.Errorf("%s: %w", key, errLed)
		}
		if at, ok := m.confirmed[key]; ok && time.Since(at) < confirmedFor {
			continue
		}
		if _, err := m.store.Stat(ctx, key); errors.Is(err, objstore.ErrNotExist) {
			return fmt.Errorf("%s: %w", key, errLed)
		} else if err != nil {
			return err
		}
		if len(m.confirmed) >= mostConfirmed {
			clear(m.confirmed)
		}
		m.confirmed[key] = time.Now()
	}
	return nil
}
