package history

import (
	"fmt"
	"strings"
)

// bridged puts every live mailbox into resync, because the lost commits may have changed
// any of them. A mailbox already in resync keeps its reason.
func (rp *Replayer) bridged(h *Header, e *BridgedEvent) error {
	var live []string
	for m, err := range rp.State.Mailboxes() {
		if err != nil {
			return err
		}
		if m.Deleted.IsZero() && m.Resync == "" {
			live = append(live, m.UniqueID)
		}
	}
	for _, uniqueid := range live {
		if err := rp.change(h, uniqueid, func(m *MailboxState) { m.Resync = e.reason() }); err != nil {
			return err
		}
	}
	return nil
}

// reason returns the MailboxState.Resync of a mailbox that may miss changes of the lost
// commits.
func (e *BridgedEvent) reason() string {
	var runs []string
	for _, r := range e.Lost {
		runs = append(runs, r.String())
	}
	return "the log has lost " + strings.Join(runs, ", ")
}

// String names the commits: "commit 4 (missing)", "commits 4 to 6 (damaged)".
func (r LostRange) String() string {
	if r.From == r.To {
		return fmt.Sprintf("commit %d (%s)", r.From, r.Reason)
	}
	return fmt.Sprintf("commits %d to %d (%s)", r.From, r.To, r.Reason)
}

// lost removes the bodies of messages. It skips unknown messages: nothing refers to them.
func (rp *Replayer) lost(h *Header, e *LostEvent) error {
	for _, g := range e.Messages {
		old, err := rp.State.Message(g)
		if err != nil {
			return err
		}
		if old == nil || old.Missing {
			continue
		}
		m := &MessageState{Message: Message{GUID: g, Size: old.Size, Missing: true}, Commit: h.Number}
		if err := rp.State.PutMessage(m); err != nil {
			return err
		}
	}
	return nil
}

// erased is lost for messages that were erased. It also concerns a message that is missing for another reason: nobody
// has to look for its body any more.
func (rp *Replayer) erased(h *Header, e *ErasedEvent) error {
	for _, g := range e.Messages {
		old, err := rp.State.Message(g)
		if err != nil {
			return err
		}
		if old == nil || !old.Erased.IsZero() {
			continue
		}
		m := &MessageState{Message: Message{GUID: g, Size: old.Size, Missing: true}, Commit: h.Number, Erased: h.Time}
		if err := rp.State.PutMessage(m); err != nil {
			return err
		}
	}
	return nil
}
