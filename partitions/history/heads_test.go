package history

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// heads describes the mailboxes and items of a state, without the totals of records.
func headsOf(t failer, m *Mem) string {
	t.Helper()
	var out []string
	for b, err := range m.Mailboxes() {
		if err != nil {
			t.Fatal(err)
		}
		c := *b
		c.Records, c.Live, c.TopUID, c.CRC = 0, 0, 0, box0.CRC
		out = append(out, toJSON(t, &c))
	}
	for _, kind := range ItemKinds() {
		for i, err := range m.Items(kind) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, toJSON(t, i))
		}
	}
	return strings.Join(append(out, fmt.Sprint(m.Tip(), m.Gaps(), m.Bridged())), "\n")
}

var box0 MailboxState

// Without records and messages, mailboxes and items are the same.
func TestHeadsEqualWholeState(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWriter(t)
		s := newPlain()
		for n := range rapid.IntRange(1, 6).Draw(rt, "commits") {
			var events []Event
			for range rapid.IntRange(1, 4).Draw(rt, "events") {
				e := validEvent(rt, s, w)
				events = append(events, e)
				rp := Replayer{State: s, Blocks: (&Mem{ctx: t.Context(), source: &blockSource{objects: NewObjects(w.store, 1)}}).readBlock}
				if err := rp.Apply(Header{Number: uint64(n + 1), Time: noon}, e); err != nil {
					rt.Fatal(err)
				}
			}
			w.commit(events...)
			if rapid.IntRange(0, 3).Draw(rt, "checkpoint") == 0 {
				w.checkpoint()
			}
		}
		whole, heads := w.load(Moment{}), w.load(Moment{Heads: true})
		if a, b := headsOf(rt, whole), headsOf(rt, heads); a != b {
			rt.Fatalf("whole state:\n%s\nheads only:\n%s", a, b)
		}
	})
}

// A state of heads never answers a question about records and messages wrongly.
func TestHeadsHaveNoRecords(t *testing.T) {
	w := newWriter(t)
	w.upload(100)
	m := w.load(Moment{Heads: true})
	_, errRecord := m.Record("large", 1)
	_, errMessage := m.Message(big(1).GUID)
	_, errPlaces := m.Places(big(1).Chunks[0])
	_, errWrite := m.WriteCheckpoint(t.Context(), w.options())
	all := []error{errRecord, errMessage, errPlaces, errWrite}
	for _, err := range m.Records("large", 0) {
		all = append(all, err)
	}
	for _, err := range m.Messages() {
		all = append(all, err)
	}
	for _, err := range m.AllPlaces() {
		all = append(all, err)
	}
	if len(all) != 7 || slices.ContainsFunc(all, func(err error) bool { return !errors.Is(err, ErrHeadsOnly) }) {
		t.Error(all)
	}
	w.checkpoint()
	if r, err := w.load(Moment{Heads: true}).Record("large", 1); err != nil || r == nil {
		t.Error("a checkpoint is a whole state:", r, err)
	}
}

// Pruning drops mailboxes and items. It needs no records for that: there is such a commit every day.
func TestHeadsOfPrunedLog(t *testing.T) {
	w := newWriter(t)
	w.upload(10)
	w.commit(mailbox("gone", "user.anne.gone"), &UnmailboxEvent{UniqueID: "gone", Name: "user.anne.gone"},
		&SubEvent{User: "anne", Name: "x", Subscribed: true}, &SubEvent{User: "anne", Name: "x"})
	w.commit(&PruneEvent{Before: noon.Add(time.Hour)})
	whole, heads := w.load(Moment{}), w.load(Moment{Heads: true})
	if a, b := headsOf(t, whole), headsOf(t, heads); a != b || strings.Contains(b, "gone") || strings.Contains(b, `"name":"x"`) {
		t.Errorf("whole state:\n%s\nheads only:\n%s", a, b)
	}
	if _, err := heads.Record("large", 1); !errors.Is(err, ErrHeadsOnly) {
		t.Error(err)
	}
}
