package partitions

import (
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// losses returns the events for lost messages. A message without a live record remains
// unchanged, because nobody would send it again and its object may still come back.
func (h *healer) losses(lost []*history.MessageState) (events []history.Event, err error) {
	if len(lost) == 0 {
		return nil, nil
	}
	live := map[cyrus.GUID]bool{} // whether a lost message has a live record
	for _, m := range lost {
		live[m.GUID] = false
	}
	err = h.view(func(st *State) error {
		for mb, err := range st.Mailboxes() {
			if err != nil {
				return err
			}
			hit, err := findLive(st, mb, live)
			if err != nil {
				return err
			}
			if hit && mb.Resync == "" {
				events = append(events, &history.ResyncEvent{UniqueID: mb.UniqueID, Reason: lostReason})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var guids []cyrus.GUID
	for _, m := range lost {
		if live[m.GUID] {
			guids = append(guids, m.GUID)
		}
	}
	for part := range slices.Chunk(guids, history.MaxMessagesPerEvent) {
		events = append(events, &history.LostEvent{Messages: part})
	}
	if len(guids) > 0 {
		h.b.set.log.Error("messages are lost from the bucket: the next sync asks the source for them",
			"backup", h.b.path, "partition", h.part.name, "messages", len(guids), "first", guids[0].String())
	}
	return events, nil
}

// findLive marks the lost messages that have live records in a mailbox.
func findLive(st *State, mb *history.MailboxState, live map[cyrus.GUID]bool) (hit bool, err error) {
	if !mb.Deleted.IsZero() {
		return false, nil
	}
	for r, err := range st.Records(mb.UniqueID, 0) {
		if err != nil {
			return hit, err
		}
		if _, lost := live[r.GUID]; lost && r.Expunged == 0 && !r.Gone {
			live[r.GUID], hit = true, true
		}
	}
	return hit, nil
}
