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

const (
	// droppedMost limits the messages that are dropped in a unit of work, because each may cost a request if another
	// backup names it. Others go to packs.
	droppedMost = 128
	// takenFrames is how many bytes of decoded frames are kept for the next copies: a frame may have hundreds
	// of the messages. takenObjects is how many directories are.
	takenFrames  = 1 << 20
	takenObjects = 4
)

// dropTaken drops messages in memory that a commit has taken, and reports whether there were any. It keeps those that
// a lookup has found since the commit, because a record needs them, and what RESERVE has found. A message that was
// dropped before is needed by at least two more backups, so it goes to a pack.
func (g *Stage) dropTaken() (some bool) {
	for _, m := range g.held {
		if !m.inMem || m.taken == "" || !m.unsure || m.promised || g.Dropped(m.guid) || len(g.dropped) >= droppedMost {
			continue
		}
		if g.dropped == nil {
			g.dropped = map[cyrus.GUID]string{}
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
func (g *Stage) Dropped(id cyrus.GUID) bool {
	_, dropped := g.dropped[id]
	return dropped
}

// fromTaker copies a message that was dropped. It returns nil if it was not. A fence does not matter: the
// connection has sent the message.
func (w *Writer) fromTaker(ctx context.Context, g cyrus.GUID) (*Message, error) {
	path, dropped := w.stage.dropped[g]
	if !dropped {
		return nil, nil
	}
	m, err := w.stage.takenBy(path, g)
	var copied *Message
	if err == nil {
		copied, err = w.stage.copyMessage(ctx, w.b.part, g, m.Size, m.open)
	}
	if errors.Is(err, errNotTaken) {
		err = fmt.Errorf("message %s of %s: %w: %w", g, path, cyrus.ErrLocked, err) // the client is asked for it again
	}
	return copied, err
}

// errNotTaken reports that a backup no longer has a message that it has taken.
var errNotTaken = errors.New("the backup that had the message no longer has it")

// takenMessage is a message of a backup that has taken it.
type takenMessage struct {
	*history.MessageState
	part   *Partition
	places map[history.ChunkID]history.Place
}

// takenBy returns a message of another backup. It returns errNotTaken if the message was erased, or the
// index of the backup is being made again. It reads the index without the commit mutex of that backup, because the
// caller has that of another one: the bytes show whether the message is the right one.
func (g *Stage) takenBy(path string, id cyrus.GUID) (m *takenMessage, err error) {
	err = g.set.index.View(func(t *index.Txn) error {
		e, err := findJSON[entry](t, index.BackupKey(path))
		if err != nil {
			return err
		}
		if e == nil || e.Rebuilding {
			return fmt.Errorf("its index is being made: %w", errNotTaken)
		}
		st := &State{set: g.set, t: t, id: e.ID, path: path, part: g.set.partition(e.Partition)}
		if st.part == nil {
			return fmt.Errorf("partition %s: %w", e.Partition, errNotTaken)
		}
		found, err := st.Message(id)
		if err != nil {
			return err
		}
		if found == nil || found.Missing {
			return errNotTaken
		}
		m = &takenMessage{found, st.part, map[history.ChunkID]history.Place{}}
		for _, c := range m.Chunks {
			if m.places[c], err = st.inlinePlace(found, c); err != nil {
				return notTaken(err)
			}
		}
		return nil
	})
	return m, err
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

// open streams the message. It records no loss: the other backup may just be erased, or set aside. Its
// own next command finds out.
func (m *takenMessage) open(ctx context.Context) (io.ReadCloser, error) {
	body, err := history.OpenMessage(ctx, m.part.taken, m.MessageState, func(c history.ChunkID) ([]history.Place, error) {
		return []history.Place{m.places[c]}, nil
	})
	if err != nil {
		return nil, m.notTaken(err)
	}
	return takenBody{body, m}, nil
}

// notTaken is notTaken. The next reader reads what shows the error again.
func (m *takenMessage) notTaken(err error) error {
	if err = notTaken(err); errors.Is(err, errNotTaken) {
		m.part.taken.Forget()
	}
	return err
}

type takenBody struct {
	io.ReadCloser
	m *takenMessage
}

func (b takenBody) Read(buf []byte) (int, error) {
	n, err := b.ReadCloser.Read(buf)
	return n, b.m.notTaken(err)
}

// notTaken makes an error of reading a message an errNotTaken if it shows that the message is not there.
func notTaken(err error) error {
	if err != nil && (history.IsUnreadable(err) || errors.As(err, new(*history.ErasedError))) {
		return fmt.Errorf("%w: %w", errNotTaken, err)
	}
	return err
}
