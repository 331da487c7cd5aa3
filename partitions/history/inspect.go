package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

// The checks of verify.

// IsDamage reports whether err is about objects in a bucket that are damaged or missing,
// as opposed to a failed request.
func IsDamage(err error) bool {
	for _, e := range []error{ErrCorrupt, ErrVersion, ErrAbsent, ErrNoPlace, ErrTooLarge, pack.ErrCorrupt, pack.ErrVersion, objstore.ErrNotExist} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// IsUnreadable is like IsDamage, but returns false for objects that a newer version of this
// program can read. For a damaged checkpoint, a reader can fall back to the log.
func IsUnreadable(err error) bool {
	return IsDamage(err) && !errors.Is(err, ErrVersion) && !errors.Is(err, pack.ErrVersion)
}

// Difference compares two states as of the same commit. It returns "" if they are equal,
// and otherwise describes the first different line.
func (m *Mem) Difference(o *Mem) (string, error) {
	a, err := m.sealedState()
	if err != nil {
		return "", err
	}
	b, err := o.sealedState()
	if err != nil {
		return "", err
	}
	for n := 1; len(a) > 0 || len(b) > 0; n++ {
		x, restA, _ := bytes.Cut(a, []byte{'\n'})
		y, restB, _ := bytes.Cut(b, []byte{'\n'})
		if !bytes.Equal(x, y) {
			const most = 200
			return fmt.Sprintf("line %d: %.*s, not %.*s", n, most, x, most, y), nil
		}
		a, b = restA, restB
	}
	return "", nil
}

func (m *Mem) sealedState() ([]byte, error) {
	for _, b := range m.order {
		for _, block := range b.blocks {
			if _, err := m.cache.seal(block); err != nil {
				return nil, err
			}
		}
	}
	for _, block := range m.messages.blocks {
		if err := m.messages.seal(block); err != nil {
			return nil, err
		}
	}
	return m.state("")
}

// CheckBlocks reads every block in the store and compares it with its hash, several at a time.
// It calls bad for each damaged block. It skips blocks in seen, and adds the others to seen. The
// keys of seen include the object, because a block can be intact in one object and damaged in
// another.
func (m *Mem) CheckBlocks(ctx context.Context, seen map[string]bool, bad func(object string, err error)) error {
	in := func(yield func(blockBytes) bool) {
		var w window
		blocks := slices.Collect(m.allBlocks())
		for i, b := range blocks {
			at := b.ref.Object + " " + b.ref.SHA256
			if b.ref.Object == "" || seen[at] {
				continue
			}
			seen[at] = true
			if !yield(m.source.fetch(ctx, &w, b.kind, b.ref, slices.Values(blocks[i+1:]))) {
				return
			}
		}
	}
	sound := func(BlockRef, []byte) (struct{}, error) { return struct{}{}, nil }
	for b := range decodeInOrder(ctx, m.source, in, sound) {
		switch {
		case b.err == nil:
		case !IsDamage(b.err):
			return b.err
		default:
			bad(b.ref.Object, b.err)
		}
	}
	return nil
}

// allBlocks yields the blocks of records, messages and places, without their bytes.
func (m *Mem) allBlocks() iter.Seq[blockBytes] {
	return func(yield func(blockBytes) bool) {
		for _, b := range m.order {
			for _, block := range b.blocks {
				if !yield(blockBytes{kind: recordBlocks, ref: block.ref}) {
					return
				}
			}
		}
		for _, block := range m.messages.blocks {
			if !yield(blockBytes{kind: messageBlocks, ref: block.ref}) {
				return
			}
		}
		for _, block := range m.places.blocks {
			if !yield(blockBytes{kind: placeBlocks, ref: block.ref}) {
				return
			}
		}
	}
}

// NamesBlocksIn reports whether the state has a block in a chosen object.
func (m *Mem) NamesBlocksIn(chosen func(object string) bool) bool {
	for b := range m.allBlocks() {
		if b.ref.Object != "" && chosen(b.ref.Object) {
			return true
		}
	}
	return false
}

// CheckObject reads a whole container. It checks the checksum of every frame, the name of
// every entry, and that the directory lists the same entries.
func CheckObject(ctx context.Context, s objstore.Store, key string) error {
	obj, err := readObject(ctx, s, key)
	if err != nil {
		return inObject(key, err)
	}
	n := 0
	for e, err := range entriesOf(ctx, s, key) {
		if err != nil {
			return err
		}
		listed, ok := obj.dir.Lookup(e.name)
		if !ok || listed.Size != e.size {
			return inObject(key, fmt.Errorf("%w: entry %s of %d bytes is not in the directory", ErrCorrupt, e.name, e.size))
		}
		if _, err := io.Copy(io.Discard, e.body); err != nil {
			return inObject(key, err)
		}
		n++
	}
	if n != len(obj.dir.Entries) {
		return inObject(key, fmt.Errorf("%w: %d entries, but the directory lists %d", ErrCorrupt, n, len(obj.dir.Entries)))
	}
	return nil
}
