package partitions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// The client sends a message once for several backups. The commit of the first one may have it inline, where no
// other backup may refer to it. The stage keeps the message in memory for the others. When memory is short,
// it drops the message instead of storing it a second time, in a pack: another backup that names it copies
// it from the first one. Nothing removes or merges a commit that young. If its object is lost
// nevertheless, the other backup is deferred, and the client is asked for the message.

// taker is a backup that has taken messages of this unit of work inline.
type taker struct {
	scope
	from uint64 // its first commit that did
}

// takenBy records that the newest commit of a backup has taken a message inline. The caller holds the commit mutex.
func (g *Stage) takenBy(b *Backup) {
	i := slices.IndexFunc(g.takers, func(t taker) bool { return t.path == b.path })
	if i < 0 {
		g.takers = append(g.takers, taker{from: b.entry.Number})
		i = len(g.takers) - 1
	}
	g.takers[i].scope = b.scope()
}

// Dropped reports whether messages that the client has sent in this unit of work are only in a backup.
func (g *Stage) Dropped() bool { return g.dropped }

// fromTakers copies a message that was dropped. It returns nil if no backup has taken it.
func (w *Writer) fromTakers(ctx context.Context, g cyrus.GUID) (*Message, error) {
	if !w.stage.dropped {
		return nil, nil
	}
	for _, t := range w.stage.takers {
		m, places, err := w.stage.takenInto(t, g)
		if err == nil && m == nil {
			continue
		}
		var copied *Message
		if err == nil {
			copied, err = w.stage.copyMessage(ctx, w.b.part, g, m.Size, func(ctx context.Context) (io.ReadCloser, error) {
				return t.part.openMessage(ctx, m, places)
			})
		}
		if errors.Is(err, errBodyLost) || errors.Is(err, history.ErrNoPlace) {
			err = fmt.Errorf("message %s: %w: %w", g, cyrus.ErrLocked, err) // the client is asked for it again
		}
		return copied, err
	}
	return nil, nil
}

// takenInto looks up a message that a backup has taken inline in this unit of work, and its places. It reads the index
// without the commit mutex of that backup: the caller has that of another one.
func (g *Stage) takenInto(t taker, id cyrus.GUID) (m *history.MessageState, places map[history.ChunkID]history.Place, err error) {
	err = g.set.index.View(func(txn *index.Txn) error {
		st := &State{set: g.set, t: txn, id: t.id, path: t.path, part: t.part}
		if m, err = st.Message(id); err != nil || m == nil {
			return err
		}
		if m.Missing || m.Commit < t.from {
			m = nil
			return nil
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
