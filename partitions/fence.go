package partitions

import (
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// fence is for a connection that may touch only some backups. Knowing the GUID of a message is
// then not enough to refer to it: the message has to be in the backup already, or in the backup that
// the mailbox comes from, or the login has to send its bytes. What it sends is stored only if the
// partition lacks it.
//
// A stage knows the messages that it still has. The index knows for sentKept what the login has sent
// before, also over another connection.
type fence struct {
	login string
	sent  map[cyrus.GUID]struct{} // not yet in the index
}

const (
	// sentKept is how long the index knows that a login has sent a message. A large mailbox can take
	// days to send, with many connections.
	sentKept = 7 * 24 * time.Hour
	// sentAtOnce is how many messages wait for the index, which bounds their memory.
	sentAtOnce = 1024
)

// NewFencedStage returns an empty stage for a connection that may touch only some backups.
func (s *Set) NewFencedStage(login string) *Stage {
	g := s.NewStage()
	g.fence = &fence{login: login, sent: map[cyrus.GUID]struct{}{}}
	return g
}

// noteSent records that the connection has sent the bytes of a message.
func (g *Stage) noteSent(guid cyrus.GUID) {
	if g.fence != nil {
		g.fence.sent[guid] = struct{}{}
	}
}

// keepSent moves what was sent to the index. It is called before each lookup, and often enough for
// its memory. No view of the index is open.
func (g *Stage) keepSent(least int) error {
	if g.fence == nil || len(g.fence.sent) < least {
		return nil
	}
	err := g.set.index.UpdateLong(func(t *index.Txn) error {
		for guid := range g.fence.sent {
			if err := t.SetFor(index.SentKey(g.fence.login, guid), sentKept); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		clear(g.fence.sent)
	}
	return err
}

// hasSent reports whether the login has sent the bytes of a message.
func (g *Stage) hasSent(t *index.Txn, guid cyrus.GUID) (bool, error) {
	if g.msgs[guid] != nil {
		return true, nil
	}
	if _, ok := g.fence.sent[guid]; ok {
		return true, nil
	}
	return t.Has(index.SentKey(g.fence.login, guid))
}

// mayCopy reports whether the connection may refer to a message of another partition.
func (g *Stage) mayCopy(guid cyrus.GUID) (may bool, err error) {
	if g.fence == nil {
		return true, nil
	}
	err = g.set.index.View(func(t *index.Txn) error {
		may, err = g.hasSent(t, guid)
		return err
	})
	return may, err
}

// outside returns which messages the connection may not refer to, even if packs of the partition
// have them. Positions are those of guids; nil: none.
func (f *finder) outside(guids []cyrus.GUID, order []int32, found []Message) (map[int32]bool, error) {
	if f.g.fence == nil || f.open {
		return nil, nil
	}
	out := map[int32]bool{}
	for _, i := range order {
		if found[i].exists && !found[i].Missing {
			continue
		}
		may, err := f.g.hasSent(f.t, guids[i])
		if may && f.g.msgs[guids[i]] == nil {
			f.g.noteSent(guids[i]) // again, so that it is still known when a mailbox names it
		}
		if err == nil && !may {
			may, err = f.inFormer(guids[i])
		}
		if err != nil {
			return nil, err
		}
		if !may {
			out[i] = true
		}
	}
	return out, nil
}

// inFormer reports whether the backup that the mailbox comes from has the body of a message.
func (f *finder) inFormer(g cyrus.GUID) (bool, error) {
	if f.from == nil {
		return false, nil
	}
	m, err := f.from.Message(g)
	return m != nil && !m.Missing, err
}

// fromState returns the state of the backup that the mailbox comes from; nil = none.
func (w *Writer) fromState(t *index.Txn) *State {
	if w.from == nil || w.from.entry == nil {
		return nil
	}
	return w.from.stateIn(t)
}
