package partitions

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Copy copies a message from a place that the backup must not refer to: from the backup
// that a mailbox comes from, from the backup that has taken the message in this unit of work, or from
// another partition. It returns nil if it finds no copy, and a message that is Lost if another partition
// has only unreadable ones: RESERVE may have reported those as held.
func (w *Writer) Copy(ctx context.Context, g cyrus.GUID) (*Message, error) {
	var old *Message
	var err error
	if w.from != nil {
		if old, err = w.fromOld(ctx, g); err != nil || old != nil && !old.Missing {
			return old, err
		}
	}
	if m, err := w.fromClient(ctx, g); m != nil || err != nil {
		return m, err // also if the old backup lacks the body: another user has got the message meanwhile
	}
	if old != nil {
		return old, nil
	}
	if may, err := w.stage.mayCopy(g); !may || err != nil {
		return nil, err
	}
	m, err := w.stage.fromOthers(ctx, w.b.part, g)
	if errors.Is(err, errBodyLost) {
		return &Message{exists: true, Missing: true, Lost: true}, nil
	}
	return m, err
}

// fromClient copies a message that the client has sent in this unit of work. It returns nil if there is none.
func (w *Writer) fromClient(ctx context.Context, g cyrus.GUID) (*Message, error) {
	if m := w.stage.msgs[g]; m != nil && m.part != w.b.part {
		return w.restage(ctx, m)
	}
	return w.fromTaker(ctx, g)
}

// fromOthers copies a message from the packs of another partition. It returns errBodyLost if
// it finds only unreadable copies.
func (g *Stage) fromOthers(ctx context.Context, part *Partition, id cyrus.GUID) (*Message, error) {
	var damaged error
	for _, p := range g.set.parts {
		if p == part || p.private() {
			continue
		}
		m, err := g.fromOther(ctx, p, part, id)
		if m != nil || err != nil && !errors.Is(err, errBodyLost) {
			return m, err
		}
		damaged = errors.Join(damaged, err)
	}
	return nil, damaged
}

// fromOther copies a message from one partition to another. It returns nil if from does not
// have the message.
func (g *Stage) fromOther(ctx context.Context, from, to *Partition, id cyrus.GUID) (*Message, error) {
	var m shared
	var ok bool
	err := g.set.index.View(func(t *index.Txn) (err error) {
		m, ok, err = from.lookupShared(t, id)
		return err
	})
	if err != nil || !ok {
		return nil, err
	}
	open, err := from.opener(id, m)
	if err != nil {
		return nil, err
	}
	if open == nil {
		return nil, fmt.Errorf("partition %s: message %s: %w", from.name, id, errBodyLost)
	}
	return g.copyMessage(ctx, to, id, m.size, open)
}

// restage copies a message that was staged for another partition. It finds the message by
// its chunks, because backups may not share the message.
func (w *Writer) restage(ctx context.Context, m *stagedMessage) (*Message, error) {
	part := w.b.part
	if err := w.stage.flush(ctx, []*stagedMessage{m}); err != nil {
		return nil, err
	}
	open, err := m.part.opener(m.guid, shared{size: m.size, chunks: m.chunks})
	if err != nil || open == nil {
		return nil, err
	}
	copied, err := w.stage.copyMessage(ctx, part, m.guid, m.size, open)
	if errors.Is(err, errBodyLost) {
		w.stage.forget(m)
		err = fmt.Errorf("%w: %w", cyrus.ErrLocked, err) // the client is asked for it again
	}
	return copied, err
}

// opener returns a function that reads a message from the places of its chunks in the index.
// It returns nil if the index lacks a readable place for a chunk.
func (p *Partition) opener(g cyrus.GUID, m shared) (open func(context.Context) (io.ReadCloser, error), err error) {
	places := map[history.ChunkID]history.Place{}
	all := true
	err = p.set.index.View(func(t *index.Txn) error {
		for _, c := range m.chunks {
			at, ok, err := p.lookupChunk(t, sole(g, m.chunks), c)
			if err != nil {
				return err
			}
			places[c] = at
			all = all && ok
		}
		return nil
	})
	if err != nil || !all {
		return nil, err
	}
	state := &history.MessageState{Message: history.Message{GUID: g, Size: m.size, Chunks: m.chunks}}
	return func(ctx context.Context) (io.ReadCloser, error) { return p.openMessage(ctx, state, places) }, nil
}

// fromOld copies a message from the backup that the mailbox comes from. The caller holds the
// commit mutex of that backup.
func (w *Writer) fromOld(ctx context.Context, g cyrus.GUID) (*Message, error) {
	var m *history.MessageState
	err := w.from.View(func(st *State) (err error) {
		m, err = st.Message(g)
		return err
	})
	if err != nil || m == nil {
		return nil, err
	}
	if m.Missing {
		return &Message{exists: true, Size: m.Size, Missing: true}, nil
	}
	from, epoch := w.from, w.from.part.epoch.Load()
	places, err := from.places(m)
	var copied *Message
	if err == nil {
		copied, err = w.stage.copyMessage(ctx, w.b.part, g, m.Size, func(ctx context.Context) (io.ReadCloser, error) {
			return from.part.openMessage(ctx, m, places)
		})
	}
	if (errors.Is(err, errBodyLost) || errors.Is(err, history.ErrNoPlace)) && from.part.epoch.Load() == epoch {
		return &Message{exists: true, Size: m.Size, Missing: true, Damaged: true}, nil
	}
	return copied, err
}

// copyMessage reads a message from a bucket and stages it.
func (g *Stage) copyMessage(ctx context.Context, part *Partition, id cyrus.GUID, size int64, open func(context.Context) (io.ReadCloser, error)) (*Message, error) {
	dead, err := part.Condemned(ctx)
	if err != nil {
		return nil, err
	}
	s := scope{part: part, dead: dead}
	m, err := await(ctx, func() (*stagedMessage, error) {
		body, err := open(ctx)
		if err != nil {
			return nil, err
		}
		defer body.Close()
		m := &stagedMessage{guid: id, size: size, part: part}
		return m, g.stage(ctx, s, m, body)
	})
	if err != nil {
		return nil, fmt.Errorf("copy message %s: %w", id, err)
	}
	return &Message{exists: true, Size: size, chunks: m.chunks, staged: m}, nil
}
