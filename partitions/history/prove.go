package history

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"path"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// What retention needs: it folds the log to each moment that it keeps, writes a checkpoint there,
// reads it back and compares.

// Resume returns the state of checkpoint n, or the state before the first commit if n is 0, to
// apply the commits after it. now is the reader's clock (Times).
func Resume(ctx context.Context, s objstore.Store, backup string, n uint64, now time.Time) (*Mem, error) {
	if n == 0 {
		m, err := NewMem(ctx, s, backup)
		if err == nil {
			m.times.Now = now
		}
		return m, err
	}
	m, err := ReadCheckpoint(ctx, s, backup, n)
	if err != nil {
		return nil, err
	}
	l := &loader{ctx: ctx, log: &Log{Store: s, Backup: backup}, at: Moment{Now: now}}
	if err := l.settleTimes(m); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// RelocatePlaces makes fn decide the place of each chunk in the commits that are applied from now
// on.
func (m *Mem) RelocatePlaces(fn func(Place) (Place, error)) { m.relocate = fn }

// Reuse takes the objects of equal blocks from o, so that WriteCheckpoint does not put these blocks
// again. sound reports whether the block in the object is known to be readable.
func (m *Mem) Reuse(o *Mem, sound func(object, sha256 string) bool) error {
	if _, err := m.sealedState(); err != nil {
		return err
	}
	if err := m.places.sealAll(); err != nil {
		return err
	}
	objects := make(map[string]string)
	for b := range o.allBlocks() {
		if b.ref.Object != "" && sound(b.ref.Object, b.ref.SHA256) {
			objects[b.ref.SHA256+"."+b.kind] = b.ref.Object
		}
	}
	for _, box := range m.order {
		for _, b := range box.blocks {
			if object := objects[b.ref.SHA256+"."+recordBlocks]; b.ref.Object == "" && object != "" {
				m.source.spill.drop(b.packed)
				b.ref.Object, b.packed = object, nil
			}
		}
	}
	m.messages.reuse(objects)
	m.places.reuse(objects)
	return nil
}

func (l *lineBlocks[T]) sealAll() error {
	for _, b := range l.blocks {
		if err := l.seal(b); err != nil {
			return err
		}
	}
	return nil
}

func (l *lineBlocks[T]) reuse(objects map[string]string) {
	for _, b := range l.blocks {
		if object := objects[b.ref.SHA256+"."+l.kind]; b.ref.Object == "" && object != "" {
			l.source.spill.drop(b.packed)
			b.ref.Object, b.packed = object, nil
		}
	}
}

// SamePlaces reports whether both states name the same blocks of places and the same objects of all
// blocks.
func (m *Mem) SamePlaces(o *Mem) (bool, error) {
	a, err := m.blockPlaces()
	if err != nil {
		return false, err
	}
	b, err := o.blockPlaces()
	return bytes.Equal(a, b), err
}

// Blocks yields the object and the hash of each block in the store.
func (m *Mem) Blocks() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for b := range m.allBlocks() {
			if b.ref.Object != "" && !yield(b.ref.Object, b.ref.SHA256) {
				return
			}
		}
	}
}

// OfCheckpoints reports whether the blocks in an object of records/ were written for checkpoints.
// Otherwise a recordblocks event may name them: their lines lack the commit.
func OfCheckpoints(ctx context.Context, s objstore.Store, key string) (bool, error) {
	for e, err := range entriesOf(ctx, s, key) {
		if err != nil {
			return false, err
		}
		if path.Ext(e.name) != "."+recordBlocks {
			continue
		}
		line, err := newLines(e.body, e.size).next()
		if err != nil {
			return false, inObject(key, err)
		}
		return strings.HasPrefix(string(line), `{"commit":`), nil
	}
	return true, nil
}

// BlocksIn returns the hashes of the blocks in an object of records/.
func BlocksIn(ctx context.Context, s objstore.Store, key string) (sums []string, err error) {
	obj, err := readObject(ctx, s, key)
	if err != nil {
		return nil, inObject(key, err)
	}
	for _, e := range obj.dir.Entries {
		sum, _, _ := strings.Cut(e.Name, ".")
		sums = append(sums, sum)
	}
	return sums, nil
}
