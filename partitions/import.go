package partitions

import (
	"iter"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// importCheckpoint fills the empty index of the backup with the state of a checkpoint.
func (b *Backup) importCheckpoint(m *history.Mem) error {
	return b.set.index.UpdateLong(func(t *index.Txn) error {
		st := &State{set: b.set, t: t, id: b.entry.ID, path: b.path, part: b.part}
		w := st.placer()
		for p, err := range readAhead(importGroup, partsOf(m)) {
			if err == nil {
				err = st.putPart(w, p)
			}
			if err != nil {
				return err
			}
		}
		if err := st.flush(); err != nil {
			return err
		}
		if err := w.end(m.AllPlaces()); err != nil {
			return err
		}
		seq, err := m.NextSeq()
		if err != nil {
			return err
		}
		if err := st.PutNextSeq(seq); err != nil {
			return err
		}
		tip := m.Tip()
		b.entry.Number, b.entry.Hash, b.entry.Time, b.entry.Checkpoint = tip.Number, tip.Hash, tip.Time, m.Checkpoint().Number
		if b.entry.Sealed, err = st.sealed(); err != nil {
			return err
		}
		return writeEntry(t, b.path, b.entry)
	})
}

// importGroup is the number of parts that are read ahead at once.
const importGroup = 512

// statePart is a part of a state; one field is set.
type statePart struct {
	mailbox  *history.MailboxState
	record   *history.RecordState
	uniqueid string // of the record's mailbox
	item     *history.ItemState
	message  *history.MessageState
	place    *history.Place
}

// putPart stores a part of a checkpoint.
func (s *State) putPart(w *placer, p statePart) error {
	switch {
	case p.mailbox != nil:
		return s.PutMailbox(p.mailbox)
	case p.record != nil:
		return s.PutRecord(p.uniqueid, p.record)
	case p.item != nil:
		return s.PutItem(p.item)
	case p.place != nil:
		return w.place(*p.place)
	}
	if err := s.PutMessage(p.message); err != nil {
		return err
	}
	return w.message(&p.message.Message)
}

// partsOf yields the state of a checkpoint.
func partsOf(m *history.Mem) iter.Seq2[statePart, error] {
	return func(yield func(statePart, error) bool) {
		for mb, err := range m.Mailboxes() {
			if !yield(statePart{mailbox: mb}, err) || err != nil {
				return
			}
			for r, err := range m.Records(mb.UniqueID, 0) {
				if !yield(statePart{record: r, uniqueid: mb.UniqueID}, err) || err != nil {
					return
				}
			}
		}
		for _, kind := range history.ItemKinds() {
			for i, err := range m.Items(kind) {
				if !yield(statePart{item: i}, err) || err != nil {
					return
				}
			}
		}
		messagesOf(m, yield)
	}
}

// messagesOf yields messages and places side by side, for a placer.
func messagesOf(m *history.Mem, yield func(statePart, error) bool) {
	next, stop := iter.Pull2(m.AllPlaces())
	defer stop()
	places := true
	place := func() bool {
		p, err, ok := next()
		places = ok
		return !ok || yield(statePart{place: &p}, err) && err == nil
	}
	for msg, err := range m.Messages() {
		if !yield(statePart{message: msg}, err) || err != nil {
			return
		}
		for range len(msg.Chunks) { // the log names as many places
			if places && !place() {
				return
			}
		}
	}
	for places {
		if !place() {
			return
		}
	}
}
