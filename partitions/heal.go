package partitions

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/indexvalue"
)

// A partition can lose bodies: a pack disappears, or a byte changes. A backup that depends on
// lost bodies is healed when it is opened. Healing takes the messages from another healthy
// copy if there is one. It records the other messages as lost and puts the mailboxes with
// live records of them into resync. The next sync of the source then sends these mailboxes
// whole, and RESERVE asks for the lost messages only.

// lostReason is the resync reason of a mailbox whose messages have lost their bodies.
const lostReason = "bodies of its messages are lost"

// heal repairs the backup if the partition has had losses since the backup was last searched
// for them. The caller holds the commit mutex. In the steady state this costs nothing,
// because the count of a partition without losses is 0.
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

// healer searches the messages of a backup for losses, in batches.
type healer struct {
	b     *Backup
	part  *Partition
	stage *Stage // for copied messages
	after index.Key
	log   logPlaces
	alone bool // another partition could not be read: ask only the source
}

const (
	// healMessages and healChunks bound the affected messages in memory.
	healMessages = 1 << 14
	healChunks   = 1 << 16
)

func (h *healer) close() {
	h.stage.Restart()
	h.log.close()
}

// view reads the state. It fails if the partition was invalidated in the meantime.
func (h *healer) view(fn func(st *State) error) error {
	err := h.b.View(fn)
	if err == nil && h.b.epoch != h.part.epoch.Load() {
		err = fmt.Errorf("the index of partition %s is dropped: %w", h.part.name, cyrus.ErrLocked)
	}
	return err
}

// messages calls fn for the messages that are not missing, starting at a key.
func (h *healer) messages(st *State, from index.Key, fn func(k index.Key, m *history.MessageState) (more bool, err error)) error {
	for kv, err := range st.t.Range(index.MessageKey(st.id, nil), from) {
		if err != nil {
			return err
		}
		if indexvalue.MessageMissing(kv.Value) {
			continue
		}
		m := new(history.MessageState)
		if err := indexvalue.ParseMessage(kv.Value, index.GUIDOf(kv.Key), m); err != nil {
			return err
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
	// readable means that the index has a place for each chunk. The log may not have one.
	readable bool
}

// step searches the next batch of messages and commits the changes.
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
		return true, nil // another host committed, or an object exists again: repeat the batch
	}
	h.after = next
	return next != nil, err
}

// examine returns nil for a message that does not depend on anything lost.
func (h *healer) examine(st *State, m *history.MessageState) (*hurt, error) {
	is := hurt{m, true}
	depends := false
	for _, c := range m.Chunks {
		_, err := st.place(m, c)
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

// wasLost reports whether the log may name a lost place of the chunk.
func (s *State) wasLost(c history.ChunkID) (bool, error) {
	if was, err := s.part.wasLost(s.t, c); was || err != nil {
		return was, err
	}
	p, ok, err := s.inline(c)
	if err != nil || !ok {
		return false, err
	}
	ok, err = s.readable(p)
	return !ok, err
}
