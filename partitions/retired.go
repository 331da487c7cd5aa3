package partitions

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Collection removes the note about a removed pack when no backup has named the pack for a month. The index may know the
// pack for years: its messages are in other packs by now, which the logs and checkpoints name, or they are not needed
// any more. That is no loss, and no sign that the bucket was restored to an older state: the list of removed notes proves
// it. A backup that needs such a message finds its present place in its own log; any other message is asked for again.

// formerError reports that chunks which a backup names have places in former packs in the index.
type formerError struct{ places []loss }

// Error implements error.
func (e *formerError) Error() string {
	return fmt.Sprintf("%d chunks are in other packs than the index knows: %v", len(e.places), cyrus.ErrLocked)
}

// Unwrap makes the client try again.
func (e *formerError) Unwrap() error { return cyrus.ErrLocked }

// findFormer finds the places of chunks in the log of the backup, and stores them in the index. The backup names the
// chunks, but the index has places in former packs, or none. lost are the chunks without a readable place in the log. The
// caller holds the commit mutex.
func (b *Backup) findFormer(ctx context.Context, list []loss) (lost []loss, err error) {
	var log logPlaces
	defer log.close()
	for _, l := range list {
		places, err := log.of(ctx, b, *l.chunk)
		if err != nil {
			return nil, err
		}
		at, err := b.part.readableAt(ctx, places, l.object)
		if err == nil && at != nil {
			err = b.moveHere(l, *at)
		}
		if err != nil {
			return nil, err
		}
		if at == nil {
			l.collected, l.former = nil, false
			lost = append(lost, l)
		}
	}
	if found := len(list) - len(lost); found > 0 {
		b.set.log.Info("the index knew packs that were removed long ago: the log has the present places", "backup", b.path, "messages", found)
	}
	return lost, nil
}

// knowAgain is findFormer for a commit: the client tries again.
func (b *Backup) knowAgain(ctx context.Context, list []loss) error {
	lost, err := b.findFormer(ctx, list)
	if err != nil {
		return err
	}
	if len(lost) > 0 {
		return b.part.wentBack(lost)
	}
	return &formerError{list}
}

// unknown returns the loss of a chunk without a place in the index, unless it is marked as lost.
func (s *State) unknown(c history.ChunkID) (*loss, error) {
	if lost, err := s.wasLost(c); lost || err != nil {
		return nil, err
	}
	return &loss{chunk: &c, how: lossDamaged}, nil
}

// readableAt returns the first of some places that exists, other than in a former object; nil if there is none.
func (p *Partition) readableAt(ctx context.Context, places []history.Place, former [32]byte) (*history.Place, error) {
	for _, pl := range places {
		if objectID(pl.Object) == former {
			continue
		}
		at, gone, err := p.prove(ctx, []history.Place{pl})
		if err != nil {
			return nil, err
		}
		if len(gone) > 0 {
			continue
		}
		var lost bool
		err = p.set.index.View(func(t *index.Txn) error {
			lost, err = p.lost(t, pl.Chunk, objectID(at[0].Object))
			return err
		})
		if err != nil || !lost {
			return &at[0], err
		}
	}
	return nil, nil
}

// moveHere stores the place of a chunk instead of the former one.
func (b *Backup) moveHere(l loss, now history.Place) error {
	return b.set.index.Update(func(t *index.Txn) error {
		if at, ok := parsePlace(now); ok {
			return b.part.movePlace(t, now.Chunk, at)
		}
		if l.collected != nil {
			if err := b.part.forgetPlace(t, *l.collected); err != nil {
				return err
			}
		}
		st := &State{set: b.set, t: t, id: b.entry.ID, path: b.path, part: b.part}
		return st.putInline(now)
	})
}

// wasRetired reports whether the note about an absent pack was removed because no backup named the pack. It reads the list
// once for all absent objects. A damaged list proves nothing.
func (m *mover) wasRetired(ctx context.Context, pack string) (bool, error) {
	if is, known := m.retired[pack]; known {
		return is, nil
	}
	err := await0(ctx, func() (err error) {
		clear(m.retired)
		for object := range m.absent {
			m.retired[object] = false
		}
		m.retired[pack] = false
		list, err := history.OpenRetired(ctx, m.p.store)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, list.Close()) }()
		for n, err := range list.Notes() {
			if err != nil {
				return err
			}
			if key := history.PackKey(n.Pack); !n.Removed.IsZero() && (m.absent[key] || key == pack) {
				m.retired[key] = true
			}
		}
		return nil
	})
	if err != nil && history.IsUnreadable(err) {
		clear(m.retired)
		m.retired[pack] = false
		return false, nil
	}
	return err == nil && m.retired[pack], err
}
