package partitions

import (
	"context"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// fence is for a connection that may touch only some backups. Knowing the GUID of a message is
// then not enough to refer to it: a backup that the connection uses has to have the message already,
// or the backup that the mailbox comes from, or the login has to send its bytes. What it sends is
// stored only if the partition lacks it.
//
// A stage knows the messages that it still has. The index knows for sentKept what the login has sent
// before, also over another connection.
type fence struct {
	login string
	sent  map[cyrus.GUID]struct{} // not yet in the index
	used  map[*Backup]scope       // the backups in use that exist
}

// NewFencedStage returns an empty stage for a connection that may touch only some backups.
func (s *Set) NewFencedStage(login string) *Stage {
	g := s.NewStage()
	g.fence = &fence{login: login, sent: map[cyrus.GUID]struct{}{}, used: map[*Backup]scope{}}
	return g
}

// Use makes the messages of a backup known to a fence until Leave. It takes the commit mutex of the
// backup. If the index of the backup is rebuilt meanwhile, the fence finds none of them.
func (g *Stage) Use(ctx context.Context, b *Backup) error {
	if g.fence == nil {
		return nil
	}
	if err := b.Begin(ctx); err != nil {
		return err
	}
	defer b.End()
	if s := b.scope(); s.exists {
		g.fence.used[b] = s
	}
	return nil
}

// Leave ends Use.
func (g *Stage) Leave(b *Backup) {
	if g.fence != nil {
		delete(g.fence.used, b)
	}
}

// may reports whether the connection may refer to a message by its GUID: it has sent the message, or
// a backup in use has it. own is the state of a backup that was asked already; nil = of none.
func (g *Stage) may(t *index.Txn, own *State, guid cyrus.GUID) (bool, error) {
	if sent, err := g.hasSent(t, guid); sent || err != nil {
		return sent, err
	}
	for _, s := range g.fence.used {
		if own != nil && own.id == s.id {
			continue
		}
		st := State{set: g.set, t: t, id: s.id, path: s.path, part: s.part}
		if has, err := st.hasBody(guid); has || err != nil {
			return has, err
		}
	}
	return false, nil
}

// hasBody reports whether the backup has a message with its body.
func (s *State) hasBody(g cyrus.GUID) (bool, error) {
	m, err := s.Message(g)
	return m != nil && !m.Missing, err
}

// mayCopy reports whether the connection may refer to a message of another partition.
func (g *Stage) mayCopy(guid cyrus.GUID) (may bool, err error) {
	if g.fence == nil {
		return true, nil
	}
	err = g.set.index.View(func(t *index.Txn) error {
		may, err = g.may(t, nil, guid)
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
		may, err := f.g.may(f.t, f.st, guids[i])
		if err == nil && !may && f.from != nil {
			may, err = f.from.hasBody(guids[i])
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

// fromState returns the state of the backup that the mailbox comes from; nil = none.
func (w *Writer) fromState(t *index.Txn) *State {
	if w.from == nil || w.from.entry == nil {
		return nil
	}
	return w.from.stateIn(t)
}
