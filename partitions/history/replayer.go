package history

import (
	"fmt"
	"iter"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// BlockReader reads the records of a block in a RecordBlocksEvent.
type BlockReader func(BlockRef) iter.Seq2[*cyrus.Record, error]

// Replayer applies events to a State. It defines what a log means (docs/format.md 3).
// The result depends only on the events and the headers: the same log always gives the
// same State.
type Replayer struct {
	State  State
	Blocks BlockReader // nil refuses RecordBlocksEvent

	heads bool // the State has no records and messages
	// Added and Removed count records that events have made live, and live ones that events have
	// expunged or whose mailbox they have deleted.
	Added, Removed int

	spare []RecordState // memory for the next records
	crc   cyrus.CRCMemory
}

// Apply applies one event of the commit with header h. It fails if the event contradicts
// the state, or if the State fails; the state may then be partly changed.
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
		return rp.change(h, e.UniqueID, func(m *MailboxState) { rp.delete(h, m) })
	case *MovedAwayEvent:
		return rp.change(h, e.UniqueID, func(m *MailboxState) { m.markDeleted(h); m.MovedTo = e.To })
	case *ResyncEvent:
		return rp.change(h, e.UniqueID, func(m *MailboxState) { m.Resync = e.Reason })
	case *BridgedEvent:
		return rp.bridged(h, e)
	case *LostEvent:
		return rp.lost(h, e)
	case *ErasedEvent:
		return rp.erased(h, e)
	case *UnuserEvent:
		return rp.unuser(h)
	case *PruneEvent:
		return rp.prune(e)
	case *AdoptedEvent, *RetainedEvent, *LockedEvent:
		return nil // for people only: the events after them contain the changes
	}
	return rp.item(h, e)
}

// mailboxCopy returns a copy of the mailbox, for changing and putting.
func (rp *Replayer) mailboxCopy(uniqueid string) (*MailboxState, error) {
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

// change changes the mailbox by fn.
func (rp *Replayer) change(h *Header, uniqueid string, fn func(*MailboxState)) error {
	m, err := rp.mailboxCopy(uniqueid)
	if err != nil {
		return err
	}
	fn(m)
	m.Commit = h.Number
	return rp.State.PutMailbox(m)
}

// delete marks a mailbox as deleted, and counts its records.
func (rp *Replayer) delete(h *Header, m *MailboxState) {
	if m.Deleted.IsZero() {
		rp.Removed += m.Live
	}
	m.markDeleted(h)
}

// markDeleted makes the mailbox a tombstone. The time of the first deletion stays.
func (m *MailboxState) markDeleted(h *Header) {
	if m.Deleted.IsZero() {
		m.Deleted = h.Time
	}
}

// mailbox replaces the head. The mailbox is live afterwards, even if it was deleted or
// moved to another backup before.
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
	if !m.Deleted.IsZero() {
		rp.Added += m.Live
	}
	m.Deleted, m.MovedTo = zeroTime, ""
	if err := rp.freeName(h, e.Name, e.UniqueID); err != nil {
		return err
	}
	return rp.State.PutMailbox(m)
}

// freeName marks another live mailbox with the name as deleted, because the newer event
// is right.
func (rp *Replayer) freeName(h *Header, name, uniqueid string) error {
	m, err := rp.State.MailboxByName(name)
	if err != nil || m == nil || m.UniqueID == uniqueid {
		return err
	}
	return rp.change(h, m.UniqueID, func(m *MailboxState) { rp.delete(h, m) })
}

// rename changes the name and the fields derived from it, and nothing else in the head.
func (rp *Replayer) rename(h *Header, e *RenameEvent) error {
	m, err := rp.mailboxCopy(e.UniqueID)
	if err != nil {
		return err
	}
	if err := rp.freeName(h, e.New, e.UniqueID); err != nil {
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

// SetField returns a copy of fields with the value set for the first pair with this key.
// It appends a pair if there is none.
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

// messages makes messages known. A message without a body never replaces a message with
// its body.
func (rp *Replayer) messages(h *Header, e *MessagesEvent) error {
	states := make([]MessageState, len(e.Messages))
	for i := range e.Messages {
		m := &states[i]
		*m = MessageState{Message: e.Messages[i], Commit: h.Number}
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
