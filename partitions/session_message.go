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

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/pack/cdc"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// MessageUnreadable notes that the client could not read the file of some message.
func (x *Session) MessageUnreadable(context.Context) error {
	x.unreadable++
	return nil
}

// Message stages one message, for the partition of the backup that was opened last.
func (x *Session) Message(ctx context.Context, _ string, guid cyrus.GUID, size int64, body io.Reader) (err error) {
	defer x.enter()(&err)
	body = fromClient{body}
	ctx = x.set.brief(ctx)
	s, err := x.scope(ctx)
	if err != nil {
		return err
	}
	if err := x.staging.settle(); err != nil {
		return err
	}
	if known, err := x.holds(s, guid, size); err != nil {
		return err
	} else if known {
		return verifyOnly(guid, body)
	}
	m := &stagedMessage{guid: guid, size: size, part: s.part}
	if size <= x.set.opt.ChunkThreshold {
		return x.stageWhole(ctx, m, body)
	}
	return x.stagePieces(ctx, m, body)
}

// scope is where a command that names no mailbox looks messages up: the backup that
// was opened last, and its partition. Of several backups at work any may be the one that
// will name the message, so only what all of them may refer to counts.
type scope struct {
	part   *Partition
	path   string
	id     uint64
	exists bool // the backup does, and is the only one
	dead   *history.Condemned
}

// scope takes the turn of the backup: others may be making its index anew.
func (x *Session) scope(ctx context.Context) (scope, error) {
	s := scope{part: x.set.parts[0]}
	if b := x.last; b != nil {
		if err := b.begin(ctx); err != nil {
			return scope{}, err
		}
		s = b.scope()
		b.end()
		s.exists = s.exists && len(x.held) <= 1
	}
	x.rely(s.part)
	var err error
	s.dead, err = s.part.Condemned(ctx)
	return s, err
}

func (b *Backup) scope() scope {
	switch {
	case b.entry != nil:
		return scope{part: b.part, path: b.path, id: b.entry.ID, exists: true}
	case b.part != nil:
		return scope{part: b.part}
	}
	return scope{part: choose(b.set.parts, b.path)}
}

// finder looks up over one view of the index.
func (x *Session) finder(t *index.Txn, s scope) *finder {
	f := &finder{x: x, t: t, part: s.part, dead: s.dead}
	if s.exists {
		f.st = &indexState{set: x.set, t: t, id: s.id, path: s.path, part: s.part}
	}
	return f
}

// holds says whether the message need not be stored again: it is staged, or in the
// partition, or in the backup that was opened last.
func (x *Session) holds(s scope, g cyrus.GUID, size int64) (bool, error) {
	if m := x.staging.msgs[g]; m != nil {
		return m.part == s.part && m.size == size && !m.suspicious, nil
	}
	var held bool
	err := x.set.index.View(func(t *index.Txn) error {
		m, err := x.finder(t, s).find(g)
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

// memory waits for memory to work in, which others give back with their commands.
func (x *Session) memory(ctx context.Context, n int64) error {
	limit, stop := limited(ctx)
	defer stop()
	if err := x.set.working.Acquire(limit, n); err != nil {
		return fmt.Errorf("wait for memory: %w", givenUp(ctx, err))
	}
	return nil
}

// stageWhole stages a message that is one chunk.
func (x *Session) stageWhole(ctx context.Context, m *stagedMessage, body io.Reader) error {
	if err := x.memory(ctx, m.size); err != nil {
		return err
	}
	defer x.set.working.Release(m.size)
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
	if err := x.memory(ctx, cdc.MaxSize); err != nil {
		return err
	}
	defer x.set.working.Release(cdc.MaxSize)
	dead, err := m.part.Condemned(ctx)
	if err != nil {
		return err
	}
	sum := newGUIDHash()
	packs := map[*openPack]struct{}{}
	err = cdc.Cut(io.TeeReader(body, sum), func(piece []byte) error {
		id := history.ChunkID(sha256.Sum256(piece))
		m.chunks = append(m.chunks, id)
		if known, err := x.holdsChunk(m.part, dead, id); known || err != nil {
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

func (x *Session) holdsChunk(part *Partition, dead *history.Condemned, id history.ChunkID) (held bool, err error) {
	if part.private() {
		return false, nil
	}
	err = x.set.index.View(func(t *index.Txn) error {
		held, err = part.lives(t, dead, id)
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
