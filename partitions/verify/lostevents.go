package verify

import (
	"bytes"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// bodiesLost is the reason in the resync events of lostEvents.
const bodiesLost = "bodies were lost"

// lostBodies are the events that record lost bodies, and the affected messages.
type lostBodies struct {
	// Events put the mailboxes with live records of the messages into resync, and then
	// record that the bodies are missing. The client then sends these records, and is
	// asked for exactly these bodies.
	Events []history.Event
	// Mailboxes are the affected mailboxes, by name, with their number of live records.
	Mailboxes map[string]int
	// Dead are the messages without a live record, which no source will send.
	Dead []cyrus.GUID
}

// lostEvents returns the events for messages whose bodies are lost; lost has their sizes.
// A message that only records name is added to the state, without a body.
func lostEvents(st history.State, lost map[cyrus.GUID]int64) (lostBodies, error) {
	out := lostBodies{Mailboxes: map[string]int{}}
	live := map[cyrus.GUID]bool{}
	for m, err := range st.Mailboxes() {
		if err != nil {
			return out, err
		}
		if !m.Deleted.IsZero() {
			continue
		}
		for r, err := range st.Records(m.UniqueID, 0) {
			if err != nil {
				return out, err
			}
			if _, gone := lost[r.GUID]; gone && r.Expunged == 0 {
				live[r.GUID] = true
				out.Mailboxes[m.Name]++
			}
		}
		if out.Mailboxes[m.Name] > 0 && m.Resync == "" {
			// Resync comes first: until the bodies are recorded as missing, a repeated repair
			// finds them again.
			out.Events = append(out.Events, &history.ResyncEvent{UniqueID: m.UniqueID, Reason: bodiesLost})
		}
	}
	known, unknown, err := sortLost(st, lost)
	if err != nil {
		return out, err
	}
	for list := range slices.Chunk(known, history.MaxMessagesPerEvent) {
		out.Events = append(out.Events, &history.LostEvent{Messages: list})
	}
	for list := range slices.Chunk(unknown, history.MaxMessagesPerEvent) {
		out.Events = append(out.Events, &history.MessagesEvent{Messages: list})
	}
	for _, g := range known {
		if !live[g] {
			out.Dead = append(out.Dead, g)
		}
	}
	return out, nil
}

// sortLost separates the messages in the state from messages that only records name.
func sortLost(st history.State, lost map[cyrus.GUID]int64) (known []cyrus.GUID, unknown []history.Message, err error) {
	for g, size := range lost {
		m, err := st.Message(g)
		if err != nil {
			return nil, nil, err
		}
		if m == nil {
			unknown = append(unknown, history.Message{GUID: g, Size: size, Missing: true})
		} else {
			known = append(known, g)
		}
	}
	slices.SortFunc(known, compareGUIDs)
	slices.SortFunc(unknown, func(a, b history.Message) int { return compareGUIDs(a.GUID, b.GUID) })
	return known, unknown, nil
}

func compareGUIDs(a, b cyrus.GUID) int { return bytes.Compare(a[:], b[:]) }
