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
// from the first one. Nothing removes or merges a commit that young. If the copy is lost nevertheless, the
// other backup is deferred, and the client is asked for the message.

// droppedMost limits the messages that a stage remembers as dropped. Others go to packs.
const droppedMost = 2048

// dropTaken drops messages in memory that a commit has taken, except what a lookup has found since: a record
// needs them, or the client does not send them again. A message that was dropped before is needed by at least
// two more backups, so it goes to a pack.
func (g *Stage) dropTaken() {
	for _, m := range g.held {
		if !m.inMem || m.taken == nil || !m.unsure || g.dropped[m.guid] != nil || len(g.dropped) >= droppedMost {
			continue
		}
		if g.dropped == nil {
			g.dropped = map[cyrus.GUID]*scope{}
		}
		g.dropped[m.guid] = m.taken
		g.forget(m)
	}
}

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
			return s.part.openMessage(ctx, m, places)
		})
	}
	if errors.Is(err, errBodyLost) || errors.Is(err, history.ErrNoPlace) {
		err = fmt.Errorf("message %s: %w: %w", g, cyrus.ErrLocked, err) // the client is asked for it again
	}
	return copied, err
}

// takenBy returns a message of another backup, and its places. It returns errBodyLost if the backup no longer has
// it: it was erased, or the index of the backup was made again. It reads the index without the commit mutex of that
// backup, because the caller has that of another one.
func (g *Stage) takenBy(s *scope, id cyrus.GUID) (m *history.MessageState, places map[history.ChunkID]history.Place, err error) {
	err = g.set.index.View(func(t *index.Txn) error {
		st := &State{set: g.set, t: t, id: s.id, path: s.path, part: s.part}
		if m, err = st.Message(id); err != nil {
			return err
		}
		if m == nil || m.Missing {
			return fmt.Errorf("%s no longer has it: %w", s.path, errBodyLost)
		}
		places = map[history.ChunkID]history.Place{}
		for _, c := range m.Chunks {
			if places[c], err = st.place(m, c); err != nil {
				return err
			}
		}
		return nil
	})
	return m, places, err
}
