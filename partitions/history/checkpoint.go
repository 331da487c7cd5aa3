package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

const (
	alwaysObjects = 2048     // a reader never has to read more log objects than this
	largeLog      = 16 << 20 // bytes of a log that is large whatever its number of objects
)

// Due reports whether a checkpoint should be written. objects and logBytes count the log
// after the last checkpoint, least is the minimum of objects, and rewriteBytes is the
// size of the new checkpoint. A checkpoint larger than the log that it replaces is
// delayed, but not forever. A large log, such as a first upload of 150,000 messages in one
// commit, has one at once: a tool that lists mailboxes must not read every message.
func Due(objects, least int, logBytes, rewriteBytes int64) bool {
	return objects >= alwaysObjects || (objects >= least || logBytes >= largeLog) && logBytes >= rewriteBytes
}

// Checkpoint describes a checkpoint that was read or written.
type Checkpoint struct {
	Number   uint64
	Hash     string // SHA-256 of state.ndjson, hex
	Previous string // Hash of the previous checkpoint; "" = none
	Bytes    int64  // size of all objects put for it; 0 after reading
}

// Checkpoint returns the last checkpoint that the state was read from or written to; zero
// if there is none.
func (m *Mem) Checkpoint() Checkpoint { return m.base }

// WriteCheckpoint writes the state as of the last commit. It first puts the blocks that no
// object contains yet, and then the checkpoint, so that the checkpoint names only objects
// that exist. A second call without a commit in between writes the same state with the
// current places. Objects put by a failed call are harmless: nothing names them.
func (m *Mem) WriteCheckpoint(ctx context.Context, o pack.Options) (Checkpoint, error) {
	return m.write(ctx, o, m.put)
}

// AddCheckpoint is WriteCheckpoint, but leaves a checkpoint that exists already unchanged: it has
// the same state, and retention may depend on its places. mayPut is asked just before the
// checkpoint is put, because blocks that nothing names are removed after a day.
func (m *Mem) AddCheckpoint(ctx context.Context, o pack.Options, mayPut func() error) (Checkpoint, error) {
	return m.write(ctx, o, func(ctx context.Context, key string, object []byte) error {
		if err := mayPut(); err != nil {
			return err
		}
		return m.putIfAbsent(ctx, key, object)
	})
}

// put puts a checkpoint. It needs no condition: two hosts that read the same log write the same
// state, and each one names blocks that it has put itself.
func (m *Mem) put(ctx context.Context, key string, object []byte) error {
	_, err := m.source.objects.store.Put(ctx, key, bytes.NewReader(object), objstore.PutOptions{})
	return err
}

// putTries is how often a conditional put is tried, which no decorator repeats.
const putTries = 3

func (m *Mem) putIfAbsent(ctx context.Context, key string, object []byte) (err error) {
	for range putTries {
		_, err = m.source.objects.store.Put(ctx, key, bytes.NewReader(object), objstore.PutOptions{IfAbsent: true})
		if !objstore.IsTemporary(err) {
			break
		}
	}
	if errors.Is(err, objstore.ErrExist) {
		return nil
	}
	return err
}

func (m *Mem) write(ctx context.Context, o pack.Options, put func(ctx context.Context, key string, object []byte) error) (Checkpoint, error) {
	c, err := m.writeCheckpoint(ctx, o, put)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint %d of %s: %w", m.tip.Number, m.backup, err)
	}
	m.base = c
	return c, nil
}

func (m *Mem) writeCheckpoint(ctx context.Context, o pack.Options, put func(ctx context.Context, key string, object []byte) error) (Checkpoint, error) {
	s := m.source.objects.store
	if m.broken != nil {
		return Checkpoint{}, m.broken
	}
	if m.tip.Number == 0 {
		return Checkpoint{}, ErrBeforeFirst
	}
	if err := m.whole(); err != nil {
		return Checkpoint{}, err
	}
	if err := m.sweepPlaces(); err != nil {
		return Checkpoint{}, err
	}
	packer := newBlockPacker(s, m.backup, o)
	if err := m.putBlocks(ctx, packer); err != nil {
		return Checkpoint{}, err
	}
	previous := m.base.Hash
	if m.base.Number == m.tip.Number {
		previous = m.base.Previous
	}
	state, err := m.state(previous)
	if err != nil {
		return Checkpoint{}, err
	}
	places, err := m.blockPlaces()
	if err != nil {
		return Checkpoint{}, err
	}
	w := pack.NewWriter(nil, o)
	if err = w.AddReader(stateEntry, int64(len(state)), bytes.NewReader(state)); err == nil {
		err = w.AddReader(placesEntry, int64(len(places)), bytes.NewReader(places))
	}
	if err != nil {
		return Checkpoint{}, err
	}
	object, err := w.Finish()
	if err != nil {
		return Checkpoint{}, err
	}
	if err := put(ctx, CheckpointKey(m.backup, m.tip.Number), object); err != nil {
		return Checkpoint{}, err
	}
	return Checkpoint{m.tip.Number, hashOf(state), previous, packer.bytes + int64(len(object))}, nil
}

// putBlocks puts the blocks that no object contains yet, and records their objects.
func (m *Mem) putBlocks(ctx context.Context, p *blockPacker) error {
	for _, b := range m.order {
		for _, block := range b.blocks {
			if err := m.putRecordBlock(ctx, p, block); err != nil {
				return err
			}
		}
	}
	if err := putLines(ctx, p, &m.messages); err != nil {
		return err
	}
	if err := putLines(ctx, p, &m.places); err != nil {
		return err
	}
	if err := p.flush(ctx); err != nil {
		return err
	}
	for _, b := range m.order {
		for _, block := range b.blocks {
			if block.ref.Object == "" {
				m.source.spill.drop(block.packed)
				block.ref.Object, block.packed = p.object[block.ref.SHA256], nil
			}
		}
	}
	setObjects(p, &m.messages)
	setObjects(p, &m.places)
	return m.source.spill.reset()
}

func (m *Mem) putRecordBlock(ctx context.Context, p *blockPacker, b *memBlock) error {
	raw, err := m.cache.seal(b)
	if err != nil || b.ref.Object != "" {
		return err
	}
	if raw == nil {
		if raw, err = m.source.spill.get(b.packed); err != nil {
			return err
		}
	}
	return p.add(ctx, recordBlocks, b.ref.SHA256, raw)
}

func putLines[T any](ctx context.Context, p *blockPacker, l *lineBlocks[T]) error {
	for _, b := range l.blocks {
		if err := l.seal(b); err != nil {
			return err
		}
		if b.ref.Object != "" {
			continue
		}
		raw, err := l.bytes(b)
		if err == nil {
			err = p.add(ctx, l.kind, b.ref.SHA256, raw)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func setObjects[T any](p *blockPacker, l *lineBlocks[T]) {
	for _, b := range l.blocks {
		if b.ref.Object == "" {
			l.source.spill.drop(b.packed)
			b.ref.Object, b.packed = p.object[b.ref.SHA256], nil
		}
	}
}
