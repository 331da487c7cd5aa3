package history

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

// MovedPlaces are the blocks of places that MovePlaces has read. The checkpoints of a backup share most
// of them, so that each is read, changed and put once. The zero value has none.
type MovedPlaces struct {
	now map[string]movedBlock // by the SHA-256 of the block before
}

type movedBlock struct {
	*lineBlock
	changed int // places
}

// MovePlaces makes fn decide where each chunk is, and returns how many places it has changed. It must
// return the same for the same place. ReplaceCheckpoint then puts the changed blocks.
func (m *Mem) MovePlaces(moved *MovedPlaces, fn func(Place) (Place, error)) (changed int, err error) {
	if moved.now == nil {
		moved.now = map[string]movedBlock{}
	}
	l := &m.places
	for _, b := range l.blocks {
		if err := l.seal(b); err != nil {
			return changed, err
		}
		was := b.ref.SHA256
		if now, ok := moved.now[was]; ok && now.ref.Object != "" {
			if now.ref.SHA256 != was {
				l.source.spill.drop(b.packed)
				b.ref.SHA256, b.ref.Object, b.packed = now.ref.SHA256, now.ref.Object, nil
				changed += now.changed
			}
			continue
		}
		n, err := l.move(b, fn)
		if err != nil {
			return changed, inObject(b.ref.Object, err)
		}
		changed += n
		moved.now[was] = movedBlock{b, n}
	}
	if changed > 0 {
		l.table, l.decoded = nil, nil
	}
	return changed, nil
}

// move changes a closed block of places. An unchanged one keeps its object.
func (l *lineBlocks[T]) move(b *lineBlock, fn func(Place) (Place, error)) (changed int, err error) {
	raw, err := l.bytes(b)
	if err != nil {
		return 0, err
	}
	parse := new(placeParser).parse
	var out []byte
	err = l.eachLine(b.ref, raw, func(line []byte) error {
		p, err := parse(line)
		if err != nil {
			return err
		}
		now, err := fn(p)
		if err != nil {
			return err
		}
		if now == p {
			out = append(append(out, line...), '\n')
			return nil
		}
		changed++
		out = now.append(out)
		return now.check()
	})
	if err != nil || changed == 0 {
		return 0, err
	}
	b.raw, b.open, b.ref = out, true, BlockRef{Block: b.ref.Block, Count: b.ref.Count}
	err = l.seal(b)
	b.raw = nil
	return changed, err
}

// HasOtherPlaces reports whether an object with blocks of the state has a block of places, too, that is
// not part of the state. An older checkpoint has named it.
func (m *Mem) HasOtherPlaces(ctx context.Context, object string) (bool, error) {
	dir, err := m.source.objects.Directory(ctx, object)
	if err != nil {
		return false, inObject(object, err)
	}
	named := map[string]bool{}
	for _, b := range m.places.blocks {
		if b.ref.Object == object {
			named[b.ref.SHA256] = true
		}
	}
	for _, e := range dir.Entries {
		if sum, ok := strings.CutSuffix(e.Name, "."+placeBlocks); ok && !named[sum] {
			return true, nil
		}
	}
	return false, nil
}

// ReplaceCheckpoint puts the checkpoint that the state was read from again, with the same state.ndjson
// and the places of now, over the version with this ETag. It puts the changed blocks first, and calls
// before between the two. It repeats a put without a clear answer. If the put fails for any reason, either version
// may be there: the answer ErrPrecondition can be that to a repetition.
func (m *Mem) ReplaceCheckpoint(ctx context.Context, o pack.Options, etag string, before func() error) error {
	state, err := m.state(m.base.Previous)
	if err == nil && (m.base.Number != m.tip.Number || hashOf(state) != m.base.Hash) {
		err = fmt.Errorf("checkpoint %d of %s: it would get another state.ndjson", m.base.Number, m.backup)
	}
	if err != nil {
		return err
	}
	_, err = m.write(ctx, o, func(ctx context.Context, key string, object []byte) error {
		if err := before(); err != nil {
			return err
		}
		for range putTries {
			if _, err = m.source.objects.store.Put(ctx, key, bytes.NewReader(object), objstore.PutOptions{IfMatch: etag}); !objstore.IsTemporary(err) {
				break
			}
		}
		return err
	})
	return err
}
