package partitions

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Stage holds the messages that a connection has sent and nothing refers to yet. It keeps
// small messages in memory, up to the size that a commit takes inline. Beyond that, they all
// go to packs. Once a pack is durable, the index knows its messages and the stage forgets
// them, so its size is bounded however much is sent. Only one goroutine uses it.
type Stage struct {
	set    *Set
	msgs   map[cyrus.GUID]*stagedMessage
	inline int64                 // bytes of bodies in memory
	packed []*stagedMessage      // messages in packs, oldest first
	failed error                 // why a message of this unit of work could not be stored
	relied map[*Partition]uint64 // lossCount.Invalid when this unit of work reported the contents of the partition
}

// stagedMessage is stored in body, or in packs of part.
type stagedMessage struct {
	guid   cyrus.GUID
	size   int64
	chunks []history.ChunkID
	body   []byte // nil: in packs
	inMem  bool
	part   *Partition
	packs  []*openPack // without duplicates
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
	g.packed, g.failed = nil, nil
}

// forget removes a message and releases its memory.
func (g *Stage) forget(m *stagedMessage) {
	if m.inMem {
		g.inline -= m.size
		g.set.staged.Release(m.size)
		m.body, m.inMem = nil, false
	}
	if g.msgs[m.guid] == m {
		delete(g.msgs, m.guid)
	}
}

// put makes m the staged message with its GUID.
func (g *Stage) put(m *stagedMessage) {
	if old := g.msgs[m.guid]; old != nil && old != m {
		g.forget(old)
	}
	g.msgs[m.guid] = m
}

// hold keeps a small message in memory if all such messages still fit into a commit.
func (g *Stage) hold(m *stagedMessage, body []byte) bool {
	if g.inline+m.size >= g.set.opt.InlineLimit || !g.set.staged.TryAcquire(m.size) {
		return false
	}
	m.body, m.inMem = body, true
	g.inline += m.size
	g.put(m)
	return true
}

// spill moves the messages in memory to packs, because they no longer fit into a commit.
func (g *Stage) spill(ctx context.Context) error {
	for _, m := range g.msgs {
		if !m.inMem {
			continue
		}
		p, err := m.part.pool.add(ctx, m.whole(), m.body)
		if err != nil {
			return err
		}
		g.forget(m)
		m.packs = []*openPack{p}
		g.add(m)
	}
	return nil
}

// whole describes a message of one chunk as a pack entry. The entry of a suspicious message is
// not named by its GUID, because another message may have the same GUID.
func (m *stagedMessage) whole() packedChunk {
	return packedChunk{id: m.chunks[0], guid: m.guid, whole: !m.suspicious, size: m.size, private: m.suspicious}
}

// add records a message that is stored in packs.
func (g *Stage) add(m *stagedMessage) {
	g.put(m)
	g.packed = append(g.packed, m)
}

// settle forgets the oldest messages whose packs are durable, because the index knows them.
func (g *Stage) settle() error {
	for len(g.packed) > 0 {
		m := g.packed[0]
		if !m.isPut() {
			return nil
		}
		g.packed = g.packed[1:]
		if err := g.settleOne(m); err != nil {
			return err
		}
	}
	return nil
}

// settleOne moves a message whose packs are done to the index. It forgets a message that could
// not be stored, and the client is asked for it again.
func (g *Stage) settleOne(m *stagedMessage) error {
	for _, p := range m.packs {
		if p.err != nil {
			g.failed = p.err
			g.forget(m)
			return nil
		}
	}
	if m.suspicious || m.part.private() {
		return nil // stays in the stage: the index contains only messages that backups share
	}
	if len(m.chunks) > 1 {
		err := g.set.index.Update(func(t *index.Txn) error {
			return m.part.indexShared(t, m.guid, shared{size: m.size, chunks: m.chunks})
		})
		if err != nil {
			return err
		}
	}
	g.forget(m)
	return nil
}

// forgetLost forgets messages that can no longer be read from packs of a partition. The client
// is asked for them again.
func (g *Stage) forgetLost(p *Partition) error {
	return g.set.index.View(func(t *index.Txn) error {
		for _, m := range g.msgs {
			if m.inMem || m.part != p || !m.isPut() {
				continue
			}
			live, err := p.allUsable(t, new(history.Condemned), m.guid, m.chunks)
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
