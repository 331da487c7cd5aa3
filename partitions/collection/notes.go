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

// errNote reports that a note could not be written, so that its pack is kept.
var errNote = errors.New("the note about it could not be written")

// noteRemoved puts the note about a pack that is about to be removed: now is where its entries
// are, and all others are dropped. The index of a daemon may know the pack for years, and must not
// conclude from its absence that the bucket was restored to an older state. Nothing ever
// removes a note, because a delayed request could remove a newer one.
//
// Entries that an older note has remain: a backup may be on its way into this partition, and have
// copied them. The note is put even if it is right, because its age is that of the removal.
func (p *pass) noteRemoved(ctx context.Context, pack string, now map[string]string) error {
	put, unused := false, true
	return p.changeNote(ctx, pack, func(m *history.Moved) bool {
		right := put && m.Unused != nil && *m.Unused && m.Time.Equal(p.began)
		m.Unused = &unused
		for entry, key := range now {
			right = right && m.Entries[entry] == key
			m.Entries[entry] = key
		}
		put = true
		return !right
	})
}

// noteAgain changes an older note, about another pack, that leads to a pack: it leads to where the
// entries are now, so that each is always one step away. Entries that nobody needs are dropped
// from it.
func (p *pass) noteAgain(ctx context.Context, about Pack, pack string, now map[string]string) error {
	return p.changeNote(ctx, history.PackKey(about), func(m *history.Moved) (changed bool) {
		for entry, key := range m.Entries {
			if key != pack {
				continue
			}
			changed = true
			if is, needed := now[entry]; needed {
				m.Entries[entry] = is
			} else {
				m.Drop(entry)
			}
		}
		return changed
	})
}

// changeNote changes a note until change has nothing more to do: the last version was read back.
func (p *pass) changeNote(ctx context.Context, pack string, change func(*history.Moved) bool) error {
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
		if !change(m) {
			return nil
		}
		if last = p.putNote(ctx, key, m, o); last != nil && !mayRepeat(last) {
			return last
		}
	}
	if objstore.IsTemporary(last) {
		return last
	}
	return fmt.Errorf("%w: put %s %d times: %w", errNote, key, listTries, last)
}

func (p *pass) putNote(ctx context.Context, key string, m *history.Moved, o objstore.PutOptions) error {
	if len(m.Entries) > mostNoted {
		return fmt.Errorf("%s: %w: %d entries", key, errNote, len(m.Entries))
	}
	m.Time = p.began.UTC()
	b, err := m.Append(nil)
	if err != nil {
		return err
	}
	if err := p.lease.Check(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, removeTime)
	defer cancel()
	_, err = p.store.Put(ctx, key, bytes.NewReader(b), o)
	return err
}

// mayRepeat reports whether a conditional put may succeed if the object is read again.
func mayRepeat(err error) bool {
	return objstore.IsTemporary(err) || errors.Is(err, objstore.ErrPrecondition) || errors.Is(err, objstore.ErrExist)
}

// removeTime bounds each request that changes a note or removes a pack. It ends well inside the
// lease.
const removeTime = 30 * time.Second
