package history

import (
	"fmt"
	"iter"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// BlockReader reads the records of a block that a RecordBlocksEvent names.
type BlockReader func(BlockRef) iter.Seq2[*cyrus.Record, error]

// Replayer applies events to a State: the one definition of what a log means
// (docs/format.md 3). What it does depends on the events and the header alone, so
// every State that was given the same log is the same.
type Replayer struct {
	State  State
	Blocks BlockReader // nil refuses RecordBlocksEvent
}

// Apply applies one event of the commit with header h. An error means that the event
// does not fit the state, or that the State itself failed; the state may then have
// changed in part.
func (rp *Replayer) Apply(h Header, e Event) error {
	if err := rp.apply(&h, e); err != nil {
		return fmt.Errorf("commit %d: %s event: %w", h.Number, e.Kind(), err)
	}
	return nil
}

func (rp *Replayer) apply(h *Header, e Event) error {
	switch e := e.(type) {
	case *MailboxEvent:
		return rp.mailbox(h, e)
	case *RecordsEvent:
		return rp.records(h, e)
	case *RecordBlocksEvent:
		return rp.recordBlocks(h, e)
	case *CompleteEvent:
		return rp.complete(h, e)
	case *ExpungeEvent:
		return rp.expunge(h, e)
	case *MessagesEvent:
		return rp.messages(h, e)
	case *RenameEvent:
		return rp.rename(h, e)
	case *UnmailboxEvent:
		return rp.change(h, e.UniqueID, func(m *MailboxState) { m.bury(h) })
	case *MovedAwayEvent:
		return rp.change(h, e.UniqueID, func(m *MailboxState) { m.bury(h); m.MovedTo = e.To })
	case *ResyncEvent:
		return rp.change(h, e.UniqueID, func(m *MailboxState) { m.Resync = e.Reason })
	case *BridgedEvent:
		return rp.bridged(h, e)
	case *LostEvent:
		return rp.lost(h, e)
	case *UnuserEvent:
		return rp.unuser(h)
	case *PruneEvent:
		return rp.prune(e)
	case *AdoptedEvent, *RetainedEvent, *LockedEvent:
		return nil // notes for people: the events after them say what has changed
	}
	return rp.item(h, e)
}

// known is the mailbox as a copy that may be changed and put.
func (rp *Replayer) known(uniqueid string) (*MailboxState, error) {
	m, err := rp.State.Mailbox(uniqueid)
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, fmt.Errorf("%w: unknown mailbox %q", ErrCorrupt, uniqueid)
	}
	c := *m
	return &c, nil
}

// change puts the mailbox after fn has changed it.
func (rp *Replayer) change(h *Header, uniqueid string, fn func(*MailboxState)) error {
	m, err := rp.known(uniqueid)
	if err != nil {
		return err
	}
	fn(m)
	m.Commit = h.Number
	return rp.State.PutMailbox(m)
}

// bury makes the mailbox a tombstone; the time of the first death stays.
func (m *MailboxState) bury(h *Header) {
	if m.Deleted.IsZero() {
		m.Deleted = h.Time
	}
}

// mailbox replaces the head. A mailbox that was deleted or had moved away lives again.
func (rp *Replayer) mailbox(h *Header, e *MailboxEvent) error {
	old, err := rp.State.Mailbox(e.UniqueID)
	if err != nil {
		return err
	}
	m := &MailboxState{UniqueID: e.UniqueID, CRC: cyrus.NewCRC()}
	if old != nil {
		*m = *old
	} else {
		if m.Seq, err = rp.State.NextSeq(); err != nil {
			return err
		}
		if err := rp.State.PutNextSeq(m.Seq + 1); err != nil {
			return err
		}
	}
	m.Name, m.Fields, m.Commit = e.Name, e.Fields, h.Number
	m.Deleted, m.MovedTo = zeroTime, ""
	if err := rp.vacate(h, e.Name, e.UniqueID); err != nil {
		return err
	}
	return rp.State.PutMailbox(m)
}

// vacate buries another live mailbox that has the name: the newer event is right.
func (rp *Replayer) vacate(h *Header, name, uniqueid string) error {
	m, err := rp.State.MailboxByName(name)
	if err != nil || m == nil || m.UniqueID == uniqueid {
		return err
	}
	return rp.change(h, m.UniqueID, func(m *MailboxState) { m.bury(h) })
}

// rename changes the name and the fields that follow it; nothing else of the head.
func (rp *Replayer) rename(h *Header, e *RenameEvent) error {
	m, err := rp.known(e.UniqueID)
	if err != nil {
		return err
	}
	if err := rp.vacate(h, e.New, e.UniqueID); err != nil {
		return err
	}
	m.Name, m.Commit = e.New, h.Number
	m.Fields = SetField(m.Fields, "MBOXNAME", e.New)
	if e.Partition != "" {
		m.Fields = SetField(m.Fields, "PARTITION", e.Partition)
	}
	if e.UIDValidity != 0 {
		m.Fields = SetField(m.Fields, "UIDVALIDITY", fmt.Sprint(e.UIDValidity))
	}
	return rp.State.PutMailbox(m)
}

// SetField returns a copy of fields in which the first one with this key has the value.
func SetField(fields []dlist.Pair, key, value string) []dlist.Pair {
	out := make([]dlist.Pair, 0, len(fields)+1)
	p := dlist.Pair{Key: key, Value: dlist.Value{Kind: dlist.String, Str: value}}
	found := false
	for _, old := range fields {
		if old.Key == key && !found {
			old, found = p, true
		}
		out = append(out, old)
	}
	if !found {
		out = append(out, p)
	}
	return out
}

// messages makes messages known. One without a body never replaces one that has it.
func (rp *Replayer) messages(h *Header, e *MessagesEvent) error {
	for i := range e.Messages {
		m := &MessageState{Message: e.Messages[i], Commit: h.Number}
		if m.Missing {
			old, err := rp.State.Message(m.GUID)
			if err != nil {
				return err
			}
			if old != nil && !old.Missing {
				continue
			}
		}
		if err := rp.State.PutMessage(m); err != nil {
			return err
		}
	}
	return nil
}
