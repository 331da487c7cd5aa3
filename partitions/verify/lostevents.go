package verify

import (
	"bytes"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// bodiesLost is the reason of a resync after bodies were lost.
const bodiesLost = "bodies were lost"

// lostBodies are the events that record the loss of bodies, and what they concern.
type lostBodies struct {
	// Events put the mailboxes with live records of the messages into resync, and then say
	// that these have no body: the client then sends these records, and is asked for exactly these bodies.
	Events []history.Event
	// Mailboxes are the live mailboxes, by name, with the number of their live records.
	Mailboxes map[string]int
	// Dead are the messages that only history names: no source will send them.
	Dead []cyrus.GUID
}

// lostEvents makes the events for messages whose bodies are gone, with their sizes. A
// message that the state does not know, but a record names, becomes known without a body.
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
			// First: what is cut off between two commits is found again as long as nothing says
			// that the bodies are missing.
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

// sortLost tells the messages that the state knows from those that only records name.
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
