package history

import (
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

func TestLostBodies(t *testing.T) {
	held, other := message(text(1, 10)), message(text(2, 10))
	m := replayed(t,
		[]Event{mailbox("a", "user.anne"), &MessagesEvent{Messages: []Message{held, other}}, records("a", record(1, held.GUID))},
		[]Event{&LostEvent{Messages: []cyrus.GUID{held.GUID, {9}}}},
	)
	if s, err := m.Message(held.GUID); err != nil || !s.Missing || len(s.Chunks) != 0 || s.Size != held.Size || s.Commit != 2 {
		t.Errorf("a lost message: %+v, %v", s, err)
	}
	if s, err := m.Message(other.GUID); err != nil || s.Missing {
		t.Errorf("another message: %+v, %v", s, err)
	}
	// The source sends the message again.
	m = replayed(t,
		[]Event{mailbox("a", "user.anne"), &MessagesEvent{Messages: []Message{held}}},
		[]Event{&LostEvent{Messages: []cyrus.GUID{held.GUID}}},
		[]Event{&MessagesEvent{Messages: []Message{held}}},
	)
	if s, err := m.Message(held.GUID); err != nil || s.Missing || s.Commit != 3 {
		t.Errorf("sent again: %+v, %v", s, err)
	}
}

func TestBridgedEventStartsResync(t *testing.T) {
	m := replayed(t,
		[]Event{mailbox("a", "user.anne"), mailbox("b", "user.anne.b"), mailbox("c", "user.anne.c")},
		[]Event{&UnmailboxEvent{UniqueID: "b"}, &ResyncEvent{UniqueID: "c", Reason: "the source went back"}},
		[]Event{&BridgedEvent{Lost: []LostRange{{From: 4, To: 4, Reason: "missing"}, {From: 6, To: 8, Reason: "damaged"}}}},
	)
	if r := box(t, m, "a").Resync; !strings.Contains(r, "commit 4 (missing), commits 6 to 8 (damaged)") {
		t.Errorf("resync of a live mailbox: %q", r)
	}
	if r := box(t, m, "b").Resync; r != "" {
		t.Errorf("resync of a deleted mailbox: %q", r)
	}
	if r := box(t, m, "c").Resync; r != "the source went back" {
		t.Errorf("resync of a mailbox already in resync: %q", r)
	}
}

// Only commits that record a loss need a newer reader.
func TestCommitVersion(t *testing.T) {
	for _, tt := range []struct {
		e    Event
		want int
	}{{&ResyncEvent{UniqueID: "a"}, 1}, {&LostEvent{}, 2}, {&BridgedEvent{}, 2}, {&ErasedEvent{}, 3}} {
		w := newWriter(t)
		b := NewBuilder(w.header(), w.options())
		if err := b.Event(tt.e); err != nil {
			t.Fatal(err)
		}
		b.Reheader(w.header()) // as if another writer had won the number
		object, _, err := b.Finish(nil)
		if err != nil {
			t.Fatal(err)
		}
		w.put(LogKey(anne, 1), object)
		h, err := ReadHeader(t.Context(), w.store, anne, 1)
		if err != nil || h.Version != tt.want {
			t.Errorf("%s: version %d, %v; want %d", tt.e.Kind(), h.Version, err, tt.want)
		}
	}
}
