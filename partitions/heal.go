package partitions

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// A partition can lose bodies: a pack that is gone, a byte that is another one. A backup
// that depends on them is healed when it is opened. Its messages come from another healthy
// copy where there is one. The others are recorded as lost, and the mailboxes with live
// records of them go into resync: the next sync of the source sends them whole, and
// RESERVE asks for the lost messages only.

// lostReason is why a mailbox is in resync whose messages have lost their bodies.
const lostReason = "bodies of its messages are lost"

// heal makes good what the partition has lost since the backup was looked through. The
// mutex is held. Steady state costs nothing: a partition that has lost nothing counts 0.
func (b *Backup) heal(ctx context.Context) error {
	now := b.part.lossCount()
	if b.entry.Checked >= now.Count {
		return nil
	}
	h := &healer{b: b, part: b.part, stage: b.set.NewStage()}
	defer h.close()
	if b.entry.Checked < now.Invalid {
		if err := h.prove(ctx); err != nil {
			return fmt.Errorf("look for what the partition has lost: %w", err)
		}
	}
	for more := true; more; {
		var err error
		if more, err = h.step(ctx); err != nil {
			return fmt.Errorf("heal what the partition has lost: %w", err)
		}
	}
	b.entry.Checked = now.Count
	return b.saveEntry()
}

// healer looks through the messages of a backup, so many at a time.
type healer struct {
	b     *Backup
	part  *Partition
	stage *Stage // of the copied messages
	after index.Key
	log   logPlaces
	alone bool // another partition could not be asked: the source is
}

const (
	// healMessages and healChunks bound how many affected messages are held at a time.
	healMessages = 1 << 14
	healChunks   = 1 << 16
)

func (h *healer) close() {
	h.stage.Restart()
	h.log.close()
}

// view reads the state. It is of no use when the partition was invalidated meanwhile.
func (h *healer) view(fn func(st *State) error) error {
	err := h.b.View(fn)
	if err == nil && h.b.epoch != h.part.epoch.Load() {
		err = fmt.Errorf("the index of partition %s is dropped: %w", h.part.name, cyrus.ErrLocked)
	}
	return err
}

// messages yields the messages that are not missing, from a key on.
func (h *healer) messages(st *State, from index.Key, fn func(k index.Key, m *history.MessageState) (more bool, err error)) error {
	for kv, err := range st.t.Scan(index.MessageKey(st.id, nil), from) {
		if err != nil {
			return err
		}
		m := new(history.MessageState)
		if err := m.UnmarshalJSON(kv.Value); err != nil {
			return err
		}
		if m.Missing {
			continue
		}
		if more, err := fn(kv.Key, m); err != nil || !more {
			return err
		}
	}
	return nil
}

// hurt is a message that depends on something lost.
type hurt struct {
	*history.MessageState
	// readable: the index knows a place for each chunk. The log may not.
	readable bool
}

// step looks at the next messages, and commits what has to be said of them.
func (h *healer) step(ctx context.Context) (more bool, err error) {
	var list []hurt
	next, chunks := index.Key(nil), 0
	err = h.view(func(st *State) error {
		return h.messages(st, h.after, func(k index.Key, m *history.MessageState) (bool, error) {
			is, err := h.examine(st, m)
			if is != nil {
				list, chunks = append(list, *is), chunks+len(m.Chunks)
			}
			if len(list) >= healMessages || chunks >= healChunks {
				next = append(slices.Clone(k), 0)
				return false, err
			}
			return true, err
		})
	})
	if err != nil || len(list) == 0 {
		return false, err
	}
	err = h.mend(ctx, list)
	if errors.Is(err, errAgain) {
		h.log.close()
		return true, nil // another host's commits, or an object that came back: look again
	}
	h.after = next
	return next != nil, err
}

// examine returns nil for a message that depends on nothing that is lost.
func (h *healer) examine(st *State, m *history.MessageState) (*hurt, error) {
	is := hurt{m, true}
	depends := false
	for _, c := range m.Chunks {
		_, err := st.place(c)
		if errors.Is(err, history.ErrNoPlace) {
			is.readable, depends = false, true
			continue
		}
		if err != nil {
			return nil, err
		}
		was, err := st.wasLost(c)
		if err != nil {
			return nil, err
		}
		depends = depends || was
	}
	if !depends {
		return nil, nil
	}
	return &is, nil
}

// wasLost reports whether the log may name a place of the chunk that is lost.
func (s *State) wasLost(c history.ChunkID) (bool, error) {
	if was, err := s.part.wasLost(s.t, c); was || err != nil {
		return was, err
	}
	var p history.Place
	ok, err := s.get(index.InlineKey(s.id, c[:]), &p)
	if err != nil || !ok {
		return false, err
	}
	ok, err = s.readable(p)
	return !ok, err
}
