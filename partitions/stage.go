package partitions

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Stage holds the messages that a connection has sent and nothing refers to yet. It keeps
// small messages in memory, up to the size that a commit takes inline. Beyond that, they all
// go to packs. Once a pack is durable, the index knows its messages and the stage forgets
// them, so its size is bounded however much is sent. Only one goroutine uses it.
type Stage struct {
	set     *Set
	msgs    map[cyrus.GUID]*stagedMessage
	inline  int64            // bytes of bodies in memory
	inMem   int              // messages in memory
	held    []*stagedMessage // messages in memory in order of arrival, and some that were forgotten
	block   *bodyBlock       // takes the next small body; nil: none
	packed  []*stagedMessage // messages in packs, oldest first
	asked   askedFor         // messages that the client was asked for
	spare   []stagedMessage  // memory for the next messages
	key     index.Key        // SharedKey for lookups in keyOf; memory
	keyOf   *Partition
	several bool                  // the client works on several backups
	dropped map[cyrus.GUID]string // if so: messages of this unit of work that only the backup with this path has
	failed  error                 // why a message of this unit of work could not be stored
	relied  map[*Partition]uint64 // lossCount.Invalid when this unit of work reported the contents of the partition
	fence   *fence                // nil: the connection may refer to every message of a partition
}

// stagedMessage is stored in body, or in packs of part.
type stagedMessage struct {
	guid   cyrus.GUID
	size   int64
	chunks []history.ChunkID
	body   []byte     // nil: in packs
	block  *bodyBlock // contains body
	inMem  bool
	// unsure is set until a lookup shows whether the message is held already. Lookups wait until
	// they are needed, and then take many messages at once.
	unsure bool
	// taken is the path of a backup that has the body inline; "": none. Another one may still need the message.
	taken string
	// promised is set when RESERVE has found the message here: the client does not send it again.
	promised bool
	part     *Partition
	packs    []*openPack // without duplicates
	// Memory for chunks and packs of a message that is one chunk.
	chunk [1]history.ChunkID
	pack  [1]*openPack
	// suspicious is set if the SHA-1 shows a collision attack. No other backup shares the
	// message.
	suspicious bool
}

// NewStage returns an empty stage.
func (s *Set) NewStage() *Stage {
	return &Stage{set: s, msgs: map[cyrus.GUID]*stagedMessage{}, relied: map[*Partition]uint64{}}
}

// Restart forgets everything at the end of a unit of work.
func (g *Stage) Restart() {
	clear(g.relied)
	g.Drop()
}

// rely records the state of the partition when the client learns what it holds.
func (g *Stage) rely(p *Partition) {
	if _, ok := g.relied[p]; !ok {
		g.relied[p] = p.lossCount().Invalid
	}
}

// Invalidated reports whether the partition of a backup was invalidated after this unit of
// work reported what it holds.
func (g *Stage) Invalidated(b *Backup) bool {
	at, ok := g.relied[b.part]
	return ok && at != b.part.lossCount().Invalid
}

// Failed returns why messages of this unit of work could not be stored, or nil if all were.
func (g *Stage) Failed() error {
	if g.failed == nil {
		return nil
	}
	return fmt.Errorf("%w: %w: %w", errLost, cyrus.ErrLocked, g.failed)
}

// Drop forgets all messages. Packs keep theirs, unreferenced.
func (g *Stage) Drop() {
	for _, m := range g.msgs {
		g.forget(m)
	}
	clear(g.msgs)
	g.tidy()
	g.packed, g.failed, g.dropped = nil, nil, nil
	g.asked.forget()
	if err := g.keepSent(1); err != nil {
		g.set.log.Debug("what a login with a scope has sent is not remembered: it has to send it again", "err", err)
	}
}

// forget removes a message and releases its memory.
func (g *Stage) forget(m *stagedMessage) {
	g.noteSent(m.guid)
	if m.inMem {
		g.inline -= m.size
		g.inMem--
		m.inMem = false
		g.leave(m)
	}
	if g.msgs[m.guid] == m {
		delete(g.msgs, m.guid)
	}
}

// committed forgets a message that a commit has added to a backup. If the client works on several backups,
// it sends a message once, although another one may name it: then the message stays until the end of the
// unit of work, or until memory is short (dropTaken).
func (g *Stage) committed(m *stagedMessage, by string) {
	if !g.several || !m.inMem && len(g.msgs) > maxHeld {
		g.forget(m)
		return
	}
	m.unsure = true // the first backup has it
	if m.inMem {
		m.taken = by
	}
}

// put makes m the staged message with its GUID.
func (g *Stage) put(m *stagedMessage) {
	if old := g.msgs[m.guid]; old != nil && old != m {
		g.forget(old)
	}
	g.msgs[m.guid] = m
}

// maxHeld limits the number of messages in memory, and with it the memory beside their bodies.
const maxHeld = 8192

// besideBody is about what a message in memory takes beside its body, in bytes.
const besideBody = 320

// room gives the message memory for its body if all such messages still fit into a commit, perhaps after
// dropTaken. leave returns the memory.
func (g *Stage) room(m *stagedMessage) bool { return g.roomNow(m) || g.dropTaken() && g.roomNow(m) }

func (g *Stage) roomNow(m *stagedMessage) bool {
	if g.inMem == 0 || len(g.held) >= maxHeld {
		g.tidy()
	}
	if g.inline+m.size >= g.set.opt.InlineLimit || len(g.held) >= maxHeld {
		return false
	}
	if !g.set.staged.TryAcquire(besideBody) {
		return false
	}
	if g.block != nil {
		m.body = g.block.take(m.size)
	}
	m.block = g.block
	if m.body == nil {
		if !g.set.staged.TryAcquire(g.set.bodies.capacity(m.size)) {
			g.set.staged.Release(besideBody)
			return false
		}
		m.block = g.set.bodies.get(m.size)
		m.body = m.block.take(m.size)
		if len(m.block.b) == smallBlock {
			g.block = m.block
		}
	}
	m.block.refs++
	return true
}

// leave returns the memory of a body.
func (g *Stage) leave(m *stagedMessage) {
	b := m.block
	m.body, m.block = nil, nil
	g.set.staged.Release(besideBody)
	if b.refs--; b.refs > 0 {
		return
	}
	if b == g.block {
		g.block = nil
	}
	g.set.staged.Release(int64(len(b.b)))
	g.set.bodies.put(b)
}

// tidy removes forgotten messages from the list of those in memory.
func (g *Stage) tidy() {
	g.held = slices.DeleteFunc(g.held, func(m *stagedMessage) bool { return !m.inMem })
}

// hold keeps a message in the memory from room.
func (g *Stage) hold(m *stagedMessage) {
	m.inMem = true
	g.inMem++
	g.inline += m.size
	g.put(m)
	g.held = append(g.held, m)
}

// spill moves the messages in memory to packs, because they no longer fit into a commit. It
// looks them up in s first, and forgets messages that are held already.
func (g *Stage) spill(ctx context.Context, s scope) error {
	g.dropTaken()
	if err := g.lookUp(s); err != nil {
		return err
	}
	for _, m := range g.held {
		if !m.inMem {
			continue
		}
		p, err := m.part.pool.add(ctx, m.whole(), m.body)
		if err != nil {
			return err
		}
		g.forget(m)
		m.packs, m.taken = append(m.pack[:0], p), ""
		g.add(m)
	}
	g.tidy()
	return nil
}

// whole describes a message of one chunk as a pack entry. The entry of a suspicious message is
// not named by its GUID, because another message may have the same GUID.
func (m *stagedMessage) whole() packedChunk {
	return packedChunk{id: m.chunks[0], guid: m.guid, whole: !m.suspicious, size: m.size, private: m.suspicious}
}

// lookUp forgets the unsure messages that are held already.
func (g *Stage) lookUp(s scope) error {
	var guids []cyrus.GUID
	for _, m := range g.held {
		if m.inMem && m.unsure {
			guids = append(guids, m.guid)
		}
	}
	if len(guids) == 0 {
		return nil
	}
	found := make([]Message, len(guids))
	err := g.set.index.View(func(t *index.Txn) error { return g.finder(t, s).findStored(guids, found) })
	if err != nil {
		return err
	}
	for i, id := range guids {
		m := g.msgs[id]
		m.unsure = false
		if f := &found[i]; m.part == s.part && f.exists && !f.Missing && f.Size == m.size {
			g.forget(m)
		}
	}
	return nil
}

// add records a message that is stored in packs.
func (g *Stage) add(m *stagedMessage) {
	g.put(m)
	g.packed = append(g.packed, m)
}

// settle forgets the oldest messages whose packs are durable, because the index knows them. It
// adds those of several pieces to the index itself. A message that could not be stored is
// forgotten too, and the client is asked for it again.
func (g *Stage) settle() error {
	if err := g.keepSent(sentAtOnce); err != nil {
		return err
	}
	n := 0
	for n < len(g.packed) && g.packed[n].isPut() {
		n++
	}
	if n == 0 {
		return nil
	}
	if err := g.indexPieces(g.packed[:n]); err != nil {
		return err
	}
	for _, m := range g.packed[:n] {
		g.settleOne(m)
	}
	clear(g.packed[:n])
	if g.packed = g.packed[n:]; len(g.packed) == 0 {
		g.packed = nil
	}
	return nil
}

// indexPieces adds the messages of several pieces to the index, in one transaction.
func (g *Stage) indexPieces(msgs []*stagedMessage) error {
	var pieces []*stagedMessage
	for _, m := range msgs {
		if len(m.chunks) > 1 && m.failed() == nil && m.shared() {
			pieces = append(pieces, m)
		}
	}
	if len(pieces) == 0 {
		return nil
	}
	return g.set.index.UpdateLong(func(t *index.Txn) error {
		for _, m := range pieces {
			if err := m.part.indexPieces(t, m.guid, shared{size: m.size, chunks: m.chunks}); err != nil {
				return err
			}
		}
		return nil
	})
}

// settleOne forgets a message whose packs are done, if the index knows it or it is lost.
func (g *Stage) settleOne(m *stagedMessage) {
	if err := m.failed(); err != nil {
		g.failed = err
		g.forget(m)
		return
	}
	if m.shared() { // others stay: the index contains only messages that backups share
		g.forget(m)
	}
}

// failed returns why a pack of the message could not be put. The packs are done.
func (m *stagedMessage) failed() error {
	for _, p := range m.packs {
		if p.err != nil {
			return p.err
		}
	}
	return nil
}

// shared reports whether other backups may refer to the message.
func (m *stagedMessage) shared() bool { return !m.suspicious && !m.part.private() }

// forgetLost forgets messages that can no longer be read from packs of a partition. The client
// is asked for them again.
func (g *Stage) forgetLost(p *Partition) error {
	return g.forgetUnusable(p, new(history.Condemned))
}

// forgetUnusable is forgetLost, and also forgets messages in condemned packs.
func (g *Stage) forgetUnusable(p *Partition, dead *history.Condemned) error {
	return g.set.index.View(func(t *index.Txn) error {
		for _, m := range g.msgs {
			if m.inMem || m.part != p || !m.isPut() {
				continue
			}
			live, err := p.allUsable(t, dead, m.guid, m.chunks)
			if err != nil {
				return err
			}
			if !live {
				g.forget(m)
			}
		}
		return nil
	})
}

// isPut reports whether all packs of the message have been put, without waiting.
func (m *stagedMessage) isPut() bool {
	for _, p := range m.packs {
		if !p.isDone() {
			return false
		}
	}
	return true
}

// packNumber returns the number of the pack that contains the message as one entry. It returns 0
// if there is no such pack, or if anything of the partition may have been lost since the pack was
// put.
func (m *stagedMessage) packNumber() uint64 {
	if len(m.packs) != 1 || len(m.chunks) != 1 || m.suspicious {
		return 0
	}
	p := m.packs[0]
	if !p.isDone() || p.err != nil || p.losses != m.part.lossState() {
		return 0
	}
	return p.number
}

// errLost reports that a staged message could not be stored.
var errLost = errors.New("staged mail could not be stored")

// flush makes the packs of the messages durable.
func (g *Stage) flush(ctx context.Context, msgs []*stagedMessage) error {
	packs := map[*openPack]struct{}{}
	for _, m := range msgs {
		for _, p := range m.packs {
			packs[p] = struct{}{}
		}
	}
	all, end := limited(ctx)
	defer end()
	for p := range packs {
		limit, stop := p.pool.part.limitedPut(all)
		err := p.flush(limit)
		over := limit.Err() != nil
		stop()
		if err != nil {
			if over {
				return p.pool.part.unput(ctx, err)
			}
			return errors.Join(fmt.Errorf("%w: %w: %w", errLost, cyrus.ErrLocked, err), g.settle())
		}
	}
	return g.settle()
}
