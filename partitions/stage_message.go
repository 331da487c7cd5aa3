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
	"golang.org/x/sync/semaphore"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/pack/cdc"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Add stages one message for the partition of last, the backup that was opened last (nil if
// none was). alone means that no other backup in use may name the message.
func (g *Stage) Add(ctx context.Context, last *Backup, alone bool, guid cyrus.GUID, size int64, body io.Reader) error {
	g.set.received.add(1, size)
	s, err := g.scope(ctx, last, alone)
	if err != nil {
		return err
	}
	if err := g.settle(); err != nil {
		return err
	}
	old := g.msgs[guid]
	if old != nil && old.part == s.part && old.size == size && !old.suspicious {
		return verifyOnly(guid, body)
	}
	m := g.newMessage()
	m.guid, m.size, m.part = guid, size, s.part
	sure := old != nil || g.asked.expects(guid) && g.lacksShared(s.part, guid)
	whole := size <= g.set.opt.ChunkThreshold
	if whole && g.room(m) {
		m.unsure = !sure
		return g.stageInMemory(m, body)
	}
	if !sure {
		if held, err := g.holds(s, guid, size); err != nil {
			return err
		} else if held {
			if err := verifyOnly(guid, body); err != nil {
				return err
			}
			g.noteSent(guid)
			return nil
		}
	}
	if whole {
		return g.stageWhole(ctx, s, m, body)
	}
	return g.stagePieces(ctx, s, m, body)
}

// lacksShared reports whether backups of a partition certainly share no such message. It reads
// nothing.
func (g *Stage) lacksShared(p *Partition, guid cyrus.GUID) bool {
	if g.keyOf != p {
		g.key, g.keyOf = index.SharedKey(p.name, make([]byte, len(guid))), p
	}
	return g.set.index.Lacks(g.key.WithGUID(guid))
}

// stage stages a message that is not held.
func (g *Stage) stage(ctx context.Context, s scope, m *stagedMessage, body io.Reader) error {
	switch {
	case m.size > g.set.opt.ChunkThreshold:
		return g.stagePieces(ctx, s, m, body)
	case g.room(m):
		return g.stageInMemory(m, body)
	}
	return g.stageWhole(ctx, s, m, body)
}

// newMessage returns an empty message. Messages are allocated many at a time.
func (g *Stage) newMessage() *stagedMessage {
	if len(g.spare) == 0 {
		g.spare = make([]stagedMessage, 32)
	}
	m := &g.spare[0]
	g.spare = g.spare[1:]
	return m
}

// Lacking returns the messages that the client must upload. last and alone are as in Add.
func (g *Stage) Lacking(ctx context.Context, last *Backup, alone bool, guids []cyrus.GUID) (missing []cyrus.GUID, err error) {
	if err := g.settle(); err != nil {
		return nil, err
	}
	s, err := g.scope(ctx, last, alone)
	if err != nil {
		return nil, err
	}
	if err := g.keepSent(1); err != nil {
		return nil, err
	}
	memory := int64(min(len(guids), lookupsAtOnce)) * lookupMemory
	if err := g.memory(ctx, memory); err != nil {
		return nil, err
	}
	defer g.set.working.Release(memory)
	err = g.set.index.View(func(t *index.Txn) error {
		missing, err = g.finder(t, s).lacking(guids)
		return err
	})
	if err == nil {
		g.asked.ask(missing)
	}
	return missing, err
}

// scope is where a command that names no mailbox looks up messages: the backup that was opened
// last, and its partition. If several backups are in use, any of them may name the message, so
// only messages that all of them may refer to count.
type scope struct {
	part   *Partition
	path   string
	id     uint64
	exists bool // the backup exists and is the only one in use
	dead   *history.Condemned
}

// scope takes the commit mutex of the backup, because another command may be rebuilding its
// index.
func (g *Stage) scope(ctx context.Context, last *Backup, alone bool) (scope, error) {
	s := scope{part: g.set.parts[0]}
	if last != nil {
		if err := last.Begin(ctx); err != nil {
			return scope{}, err
		}
		s = last.scope()
		last.End()
		s.exists = s.exists && alone
	}
	g.several = !alone
	g.rely(s.part)
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

// finder returns a finder over one view of the index.
func (g *Stage) finder(t *index.Txn, s scope) *finder {
	f := &finder{g: g, t: t, part: s.part, dead: s.dead}
	if s.exists {
		f.st = &State{set: g.set, t: t, id: s.id, path: s.path, part: s.part}
	}
	return f
}

// holds reports whether the message need not be stored again, because it is in the partition or
// in the backup that was opened last. The fence does not matter, because the bytes arrive.
func (g *Stage) holds(s scope, guid cyrus.GUID, size int64) (bool, error) {
	var held bool
	err := g.set.index.View(func(t *index.Txn) error {
		f := g.finder(t, s)
		f.open = true
		m, err := f.find(guid)
		held = m.exists && m.Size == size && !m.Missing
		return err
	})
	return held, err
}

// verifyOnly reads a body that is already held. The bytes must match the GUID nevertheless.
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

// memory waits for working memory, which other commands release when they end.
func (g *Stage) memory(ctx context.Context, n int64) error { return borrow(ctx, g.set.working, n) }

// borrow waits for n bytes of memory.
func borrow(ctx context.Context, from *semaphore.Weighted, n int64) error {
	if from.TryAcquire(n) {
		return nil // no wait, so no timer
	}
	limit, stop := limited(ctx)
	defer stop()
	if err := from.Acquire(limit, n); err != nil {
		return fmt.Errorf("wait for memory: %w", givenUp(ctx, err))
	}
	return nil
}

// stageInMemory stages a message that has room in memory.
func (g *Stage) stageInMemory(m *stagedMessage, body io.Reader) error {
	if err := m.read(body, m.body); err != nil {
		g.leave(m)
		return err
	}
	g.hold(m)
	return nil
}

// stageWhole puts a message of one chunk into a pack that does not fit into a commit, and all
// that wait for the commit with it.
func (g *Stage) stageWhole(ctx context.Context, s scope, m *stagedMessage, body io.Reader) error {
	body, done, err := g.arrive(ctx, g.set.bodies.capacity(m.size), m.size, body)
	if err != nil {
		return err
	}
	defer done()
	block := g.set.bodies.get(m.size)
	defer g.set.bodies.put(block)
	buf := block.take(m.size)
	if err := m.read(body, buf); err != nil {
		return err
	}
	if err := g.spill(ctx, s); err != nil {
		return err
	}
	p, err := m.part.pool.add(ctx, m.whole(), buf)
	if err != nil {
		return err
	}
	m.packs = append(m.pack[:0], p)
	g.add(m)
	return nil
}

// read reads a message that is one chunk into buf, checks its GUID and computes its chunk.
func (m *stagedMessage) read(body io.Reader, buf []byte) error {
	if _, err := io.ReadFull(body, buf); err != nil {
		return err
	}
	// Without a collision, the sum that detects them is the SHA-1.
	is, suspicious := sha1cd.Sum(buf)
	if suspicious {
		is = sha1.Sum(buf)
	}
	if is != m.guid {
		return errWrongGUID(m.guid, is)
	}
	m.suspicious = suspicious
	m.chunk[0] = sha256.Sum256(buf)
	m.chunks = m.chunk[:]
	return nil
}

// stagePieces splits a large message by its content as it streams in. It does not store a
// piece again that the partition already holds.
func (g *Stage) stagePieces(ctx context.Context, s scope, m *stagedMessage, body io.Reader) error {
	if err := g.spill(ctx, s); err != nil {
		return err
	}
	if err := borrow(ctx, g.set.pieces, cdc.MaxSize); err != nil {
		return err
	}
	defer g.set.pieces.Release(cdc.MaxSize)
	dead, err := m.part.Condemned(ctx)
	if err != nil {
		return err
	}
	sum := newGUIDHash()
	packs := map[*openPack]struct{}{}
	err = cdc.Cut(io.TeeReader(body, sum), func(piece []byte) error {
		id := history.ChunkID(sha256.Sum256(piece))
		m.chunks = append(m.chunks, id)
		if known, err := g.holdsChunk(m.part, dead, id); known || err != nil {
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
	g.add(m)
	return nil
}

func (g *Stage) holdsChunk(part *Partition, dead *history.Condemned, id history.ChunkID) (held bool, err error) {
	if part.private() {
		return false, nil
	}
	err = g.set.index.View(func(t *index.Txn) error {
		held, err = part.usable(t, dead, cyrus.GUID{}, id)
		return err
	})
	return held, err
}

// guidHash computes the SHA-1 of a message and detects bytes that were made to collide with
// another message (the attack of 2017 and similar ones).
type guidHash struct {
	detecting sha1cd.CollisionResistantHash
	plain     hash.Hash
}

func newGUIDHash() guidHash {
	// The detecting hash returns a different sum for bytes that it suspects. The plain hash
	// returns the sum that Cyrus computed.
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
