package partitions

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"github.com/pjbgf/sha1cd"

	"backupd/index"
	"backupd/objstore/pack/cdc"
	"backupd/partitions/history"
	"backupd/replication/cyrus"
)

// chunkerName stands in repository.json: who reads it knows how messages were cut.
const chunkerName = cdc.Name

// MessageUnreadable notes that the client could not read the file of some message.
func (x *Session) MessageUnreadable(context.Context) error {
	x.unreadable++
	return nil
}

// Message stages one message, for the partition of the backup that was opened last.
func (x *Session) Message(ctx context.Context, _ string, guid cyrus.GUID, size int64, body io.Reader) error {
	defer x.enter()()
	ctx = x.set.brief(ctx)
	part := x.messagePartition()
	if err := x.staging.settle(); err != nil {
		return err
	}
	if known, err := x.holds(ctx, part, guid, size); err != nil {
		return err
	} else if known {
		return verifyOnly(guid, body)
	}
	m := &stagedMessage{guid: guid, size: size, part: part}
	if size <= x.set.opt.ChunkThreshold {
		return x.stageWhole(ctx, m, body)
	}
	return x.stagePieces(ctx, m, body)
}

// messagePartition is where messages go that name neither user nor mailbox.
func (x *Session) messagePartition() *Partition {
	switch {
	case x.last == nil:
		return x.set.parts[0]
	case x.last.part != nil:
		return x.last.part
	}
	return choose(x.set.parts, x.last.path)
}

// holds says whether the message need not be stored again: it is staged, or in the
// partition, or in the backup that was opened last.
func (x *Session) holds(ctx context.Context, part *Partition, g cyrus.GUID, size int64) (bool, error) {
	if m := x.staging.msgs[g]; m != nil {
		return m.part == part && m.size == size && !m.suspicious, nil
	}
	var held bool
	err := x.set.index.View(func(t *index.Txn) error {
		var st *indexState
		if x.last != nil && x.last.entry != nil {
			st = &indexState{set: x.set, t: t, id: x.last.entry.ID, path: x.last.path, part: x.last.part}
		}
		f := finder{x: x, t: t, st: st, part: part}
		m, err := f.find(ctx, g)
		held = m != nil && m.size == size && !m.missing
		return err
	})
	return held, err
}

// verifyOnly reads a body that is held already: what is sent must be what was said all the same.
func verifyOnly(guid cyrus.GUID, body io.Reader) error {
	sum := sha1.New()
	if _, err := io.Copy(sum, body); err != nil {
		return err
	}
	if cyrus.GUID(sum.Sum(nil)) != guid {
		return errWrongGUID(guid, cyrus.GUID(sum.Sum(nil)))
	}
	return nil
}

func errWrongGUID(said, is cyrus.GUID) error {
	return fmt.Errorf("message %s: the SHA-1 of its bytes is %s: %w", said, is, cyrus.ErrBadParameters)
}

// stageWhole stages a message that is one chunk.
func (x *Session) stageWhole(ctx context.Context, m *stagedMessage, body io.Reader) error {
	if err := x.set.memory.Acquire(ctx, m.size); err != nil {
		return fmt.Errorf("wait for memory: %w: %w", cyrus.ErrLocked, err)
	}
	defer x.set.memory.Release(m.size)
	buf := make([]byte, m.size)
	if _, err := io.ReadFull(body, buf); err != nil {
		return err
	}
	sum := newGUIDHash()
	sum.Write(buf)
	if err := sum.check(m); err != nil {
		return err
	}
	m.chunks = []history.ChunkID{sha256.Sum256(buf)}
	if x.staging.hold(m, buf) {
		return nil
	}
	if err := x.staging.spill(ctx); err != nil {
		return err
	}
	p, err := m.part.pool.add(ctx, m.whole(), buf)
	if err != nil {
		return err
	}
	m.packs = []*openPack{p}
	x.staging.add(m)
	return nil
}

// stagePieces cuts a large message by its content as it streams in. A piece that the
// partition holds already is not stored again.
func (x *Session) stagePieces(ctx context.Context, m *stagedMessage, body io.Reader) error {
	if err := x.staging.spill(ctx); err != nil {
		return err
	}
	if err := x.set.memory.Acquire(ctx, cdc.MaxSize); err != nil {
		return fmt.Errorf("wait for memory: %w: %w", cyrus.ErrLocked, err)
	}
	defer x.set.memory.Release(cdc.MaxSize)
	sum := newGUIDHash()
	packs := map[*openPack]struct{}{}
	err := cdc.Cut(io.TeeReader(body, sum), func(piece []byte) error {
		id := history.ChunkID(sha256.Sum256(piece))
		m.chunks = append(m.chunks, id)
		if known, err := x.holdsChunk(ctx, m.part, id); known || err != nil {
			return err
		}
		p, err := m.part.pool.add(ctx, packedChunk{id: id, size: int64(len(piece))}, piece)
		if err != nil {
			return err
		}
		if _, twice := packs[p]; !twice {
			packs[p] = struct{}{}
			m.packs = append(m.packs, p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := sum.check(m); err != nil {
		return err
	}
	x.staging.add(m)
	return nil
}

func (x *Session) holdsChunk(ctx context.Context, part *Partition, id history.ChunkID) (held bool, err error) {
	if part.private() {
		return false, nil
	}
	err = x.set.index.View(func(t *index.Txn) error {
		p, ok, err := part.lookupChunk(t, id)
		if err != nil || !ok {
			return err
		}
		dead, err := part.condemned(ctx, p.Object)
		held = !dead
		return err
	})
	return held, err
}

// guidHash computes the SHA-1 of a message, and sees whether the bytes were made to
// collide with another message's (the attack of 2017 and its kin).
type guidHash struct {
	detecting sha1cd.CollisionResistantHash
	plain     hash.Hash
}

func newGUIDHash() guidHash {
	// The detecting hash gives another sum for bytes that it suspects: the plain one tells
	// what Cyrus computed.
	return guidHash{sha1cd.New().(sha1cd.CollisionResistantHash), sha1.New()}
}

func (h guidHash) Write(b []byte) (int, error) {
	h.detecting.Write(b)
	return h.plain.Write(b)
}

func (h guidHash) check(m *stagedMessage) error {
	if is := h.plain.Sum(nil); !bytes.Equal(is, m.guid[:]) {
		return errWrongGUID(m.guid, cyrus.GUID(is))
	}
	_, m.suspicious = h.detecting.CollisionResistantSum(nil)
	return nil
}
