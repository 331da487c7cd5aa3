package partitions

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// staging is what a connection has sent and nothing refers to yet. Small messages
// are held as they are, up to the size that a commit takes inline; when more comes
// they all go to the packs. Once a pack is durable the index knows its messages, and
// staging forgets them: its size is bounded, however much is sent.
type staging struct {
	x      *Session
	msgs   map[cyrus.GUID]*stagedMessage
	inline int64            // bytes of bodies held
	packed []*stagedMessage // those in packs, oldest first
	failed error            // why some that were sent in this unit of work could not be stored
}

// stagedMessage lies in body, or in packs of part.
type stagedMessage struct {
	guid   cyrus.GUID
	size   int64
	chunks []history.ChunkID
	body   []byte // nil: in packs
	inMem  bool
	part   *Partition
	packs  []*openPack // without repetition
	// suspicious: its SHA-1 shows a collision attack; it is shared with nobody.
	suspicious bool
}

func (g *staging) init(x *Session) {
	g.x = x
	g.msgs = map[cyrus.GUID]*stagedMessage{}
}

// drop forgets everything; what is in packs stays there, unreferenced.
func (g *staging) drop() {
	for _, m := range g.msgs {
		g.forget(m)
	}
	clear(g.msgs)
	g.packed, g.failed = nil, nil
}

// forget gives back the memory of a message.
func (g *staging) forget(m *stagedMessage) {
	if m.inMem {
		g.inline -= m.size
		g.x.set.staged.Release(m.size)
		m.body, m.inMem = nil, false
	}
	if g.msgs[m.guid] == m {
		delete(g.msgs, m.guid)
	}
}

// put makes m the staged message with its guid.
func (g *staging) put(m *stagedMessage) {
	if old := g.msgs[m.guid]; old != nil && old != m {
		g.forget(old)
	}
	g.msgs[m.guid] = m
}

// hold keeps a small message in memory, if it and its like still fit a commit.
func (g *staging) hold(m *stagedMessage, body []byte) bool {
	if g.inline+m.size >= g.x.set.opt.InlineLimit || !g.x.set.staged.TryAcquire(m.size) {
		return false
	}
	m.body, m.inMem = body, true
	g.inline += m.size
	g.put(m)
	return true
}

// spill moves what is held in memory to the packs: it will not fit a commit any more.
func (g *staging) spill(ctx context.Context) error {
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

// whole describes a message of one chunk as an entry of a pack. A suspicious one has
// no guid to be named by: another message may have the same.
func (m *stagedMessage) whole() packedChunk {
	return packedChunk{id: m.chunks[0], guid: m.guid, whole: !m.suspicious, size: m.size, private: m.suspicious}
}

// add notes a message that lies in packs.
func (g *staging) add(m *stagedMessage) {
	g.put(m)
	g.packed = append(g.packed, m)
}

// settle forgets the oldest messages whose packs are durable: the index knows them.
func (g *staging) settle() error {
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

// settleOne shows a message in the index whose packs are done. One that could not
// be stored is forgotten: the client is asked for it again.
func (g *staging) settleOne(m *stagedMessage) error {
	for _, p := range m.packs {
		if p.err != nil {
			g.failed = p.err
			g.forget(m)
			return nil
		}
	}
	if m.suspicious || m.part.private() {
		return nil // stays in staging: the index shows only what backups share
	}
	if len(m.chunks) > 1 {
		err := g.x.set.index.Update(func(t *index.Txn) error {
			return m.part.indexShared(t, m.guid, shared{m.size, m.chunks})
		})
		if err != nil {
			return err
		}
	}
	g.forget(m)
	return nil
}

// forgetLost forgets what is in packs of a partition and cannot be read there any more:
// the client is asked for it again.
func (g *staging) forgetLost(p *Partition) error {
	return g.x.set.index.View(func(t *index.Txn) error {
		for _, m := range g.msgs {
			if m.inMem || m.part != p || !m.isPut() {
				continue
			}
			live, err := p.allLive(t, new(history.Condemned), m.chunks)
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

// isPut says whether all packs of the message have been put, without waiting.
func (m *stagedMessage) isPut() bool {
	for _, p := range m.packs {
		if !p.isDone() {
			return false
		}
	}
	return true
}

// errLost: a message was staged and could not be stored.
var errLost = errors.New("staged mail could not be stored")

// flush makes the packs durable in which the named messages lie.
func (g *staging) flush(ctx context.Context, msgs []*stagedMessage) error {
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
