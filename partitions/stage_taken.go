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

// The client sends a message once for several backups. The commit of the first one may have it inline, where no
// other backup may refer to it. The stage keeps the message in memory for the others. When memory is short, it
// drops the message instead of storing it a second time, in a pack: another backup that names it copies it
// from the first one. If that one no longer has it, the other backup is deferred, and the client is asked for the
// message.

// droppedMost limits the messages that are dropped in a unit of work, because each costs a request if another backup
// names it. Others go to packs.
const droppedMost = 128

// dropTaken drops messages in memory that a commit has taken, and reports whether there were any. It keeps those that
// a lookup has found since the commit, because a record needs them, and what RESERVE has found. A message that was
// dropped before is needed by at least two more backups, so it goes to a pack.
func (g *Stage) dropTaken() (some bool) {
	for _, m := range g.held {
		if !m.inMem || m.taken == nil || !m.unsure || m.promised || g.dropped[m.guid] != nil || len(g.dropped) >= droppedMost {
			continue
		}
		if g.dropped == nil {
			g.dropped = map[cyrus.GUID]*scope{}
		}
		g.dropped[m.guid] = m.taken
		g.forget(m)
		some = true
	}
	if some {
		g.tidy()
	}
	return some
}

// Dropped reports whether the connection has sent a message in this unit of work that was dropped.
func (g *Stage) Dropped(id cyrus.GUID) bool { return g.dropped[id] != nil }

// fromTaker copies a message that was dropped. It returns nil if it was not. A fence does not matter: what was
// staged, the connection has sent.
func (w *Writer) fromTaker(ctx context.Context, g cyrus.GUID) (*Message, error) {
	s := w.stage.dropped[g]
	if s == nil {
		return nil, nil
	}
	m, places, err := w.stage.takenBy(s, g)
	var copied *Message
	if err == nil {
		copied, err = w.stage.copyMessage(ctx, w.b.part, g, m.Size, func(ctx context.Context) (io.ReadCloser, error) {
			return s.part.openTaken(ctx, m, places)
		})
	}
	if errors.Is(err, errNotTaken) {
		err = fmt.Errorf("message %s: %w: %w", g, cyrus.ErrLocked, err) // the client is asked for it again
	}
	return copied, err
}

// errNotTaken reports that a backup no longer has a message that it has taken.
var errNotTaken = errors.New("the backup that had the message no longer has it")

// takenBy returns a message of another backup, and its places. It returns errNotTaken if the message was erased, or the
// index of the backup was made again. It reads the index without the commit mutex of that backup, because the caller
// has that of another one.
func (g *Stage) takenBy(s *scope, id cyrus.GUID) (m *history.MessageState, places map[history.ChunkID]history.Place, err error) {
	err = g.set.index.View(func(t *index.Txn) error {
		st := &State{set: g.set, t: t, id: s.id, path: s.path, part: s.part}
		if m, err = st.Message(id); err != nil {
			return err
		}
		if m == nil || m.Missing {
			return fmt.Errorf("%s: %w", s.path, errNotTaken)
		}
		places = map[history.ChunkID]history.Place{}
		for _, c := range m.Chunks {
			if places[c], err = st.inlinePlace(m, c); err != nil {
				return notTaken(err)
			}
		}
		return nil
	})
	return m, places, err
}

// inlinePlace is place, but prefers the log to packs, which may be condemned.
func (s *State) inlinePlace(m *history.MessageState, c history.ChunkID) (history.Place, error) {
	p, ok, err := s.inline(c)
	if err == nil && ok {
		ok, err = s.readable(p)
	}
	if err != nil || ok {
		return p, err
	}
	return s.place(m, c)
}

// openTaken streams a message of another backup. It records no loss: the other backup may just be erased, or set aside. Its
// own next command finds out.
func (p *Partition) openTaken(ctx context.Context, m *history.MessageState, places map[history.ChunkID]history.Place) (io.ReadCloser, error) {
	body, err := history.OpenMessage(ctx, p.objects, m, func(c history.ChunkID) ([]history.Place, error) {
		return []history.Place{places[c]}, nil
	})
	if err != nil {
		return nil, notTaken(err)
	}
	return takenBody{body}, nil
}

type takenBody struct{ io.ReadCloser }

func (b takenBody) Read(buf []byte) (int, error) {
	n, err := b.ReadCloser.Read(buf)
	return n, notTaken(err)
}

// notTaken makes an error of reading a message an errNotTaken if it shows that the message is not there.
func notTaken(err error) error {
	if err != nil && (history.IsUnreadable(err) || errors.As(err, new(*history.ErasedError))) {
		return fmt.Errorf("%w: %w", errNotTaken, err)
	}
	return err
}
