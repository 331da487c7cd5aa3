package history

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// There are only a few ids, so that several events concern the same mailbox.
var ids = []string{"a", "b", "c"}

// validEvent draws an event that fits the state. It uses known mailboxes, and uids at the
// edges of blocks.
func validEvent(t *rapid.T, s *plainState, w *writer) Event {
	known := slices.Sorted(maps.Keys(s.mailboxes))
	id := rapid.SampledFrom(ids).Draw(t, "id")
	kind := rapid.SampledFrom([]string{"mailbox", "records", "records", "records", "messages", "recordblocks", "complete", "expunge", "rename",
		"unmailbox", "resync", "moved-away", "item", "item", "unuser", "prune", "adopted"}).Draw(t, "kind")
	if !slices.Contains(known, id) && !slices.Contains([]string{"messages", "item", "unuser", "prune"}, kind) {
		kind = "mailbox"
	}
	name := "user.anne." + rapid.SampledFrom([]string{"x", "y", "z", "\xff"}).Draw(t, "name")
	switch kind {
	case "mailbox":
		return mailbox(id, name)
	case "records":
		return &RecordsEvent{UniqueID: id, Records: validRecords(t)}
	case "recordblocks":
		b := NewRecordBlockWriter(w.store, anne, w.options())
		for _, r := range validRecords(t) {
			if err := b.Add(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		refs, err := b.Finish(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return &RecordBlocksEvent{UniqueID: id, Blocks: refs}
	case "messages":
		e := &MessagesEvent{}
		for range rapid.IntRange(1, 3).Draw(t, "n") {
			n := rapid.IntRange(0, 30).Draw(t, "message")
			m := message(text(n, 10))
			if m.Missing = n%5 == 0 && rapid.Bool().Draw(t, "missing"); m.Missing {
				m.Chunks = nil
			}
			e.Messages = append(e.Messages, m)
		}
		return e
	case "complete":
		return &CompleteEvent{UniqueID: id}
	case "expunge":
		return &ExpungeEvent{UniqueID: id, UIDs: rapid.SliceOfN(rapid.SampledFrom(uids), 1, 4).Draw(t, "uids")}
	case "rename":
		return &RenameEvent{UniqueID: id, New: name, Partition: "p2", UIDValidity: 9}
	case "unmailbox":
		return &UnmailboxEvent{UniqueID: id}
	case "resync":
		return &ResyncEvent{UniqueID: id, Reason: name}
	case "moved-away":
		return &MovedAwayEvent{UniqueID: id, To: "user/bob"}
	case "unuser":
		return &UnuserEvent{User: "anne"}
	case "adopted":
		return &AdoptedEvent{UniqueID: id}
	case "prune":
		return &PruneEvent{Before: noon.AddDate(0, 0, rapid.IntRange(0, 1).Draw(t, "day"))}
	}
	for {
		e := anyEvent().Draw(t, "item")
		if _, _, ok := ItemOf(e); ok && e.Kind() != "sealed" {
			return e
		}
	}
}

var uids = []uint32{1, 2, 3, 4094, 4095, 4096, 4097, 8191, 8192, 70000, 1<<32 - 1}

func validRecords(t *rapid.T) (out []*cyrus.Record) {
	list := rapid.SliceOfNDistinct(rapid.SampledFrom(uids), 1, 5, rapid.ID).Draw(t, "uids")
	slices.Sort(list)
	for _, uid := range list {
		var flags []string
		if rapid.IntRange(0, 3).Draw(t, "expunged") == 0 {
			flags = []string{`\Seen`, `\Expunged`}
		}
		out = append(out, record(uid, message(text(rapid.IntRange(0, 30).Draw(t, "message"), 10)).GUID, flags...))
	}
	return out
}

// A Mem with a tiny cache, written and reloaded at random moments, equals a State made of
// plain maps. The totals of Replayer match the records.
func TestMemEqualsPlainState(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWriter(t)
		want := newPlain()
		m, err := NewMem(t.Context(), w.store, anne)
		if err != nil {
			rt.Fatal(err)
		}
		for range rapid.IntRange(1, 12).Draw(rt, "commits") {
			m.cache.max = rapid.IntRange(1, 8).Draw(rt, "cache")
			m.source.spill.max = rapid.Int64Range(0, 2000).Draw(rt, "held")
			var events []Event
			rp := Replayer{State: want, Blocks: m.readBlock}
			h := w.header()
			for range rapid.IntRange(1, 4).Draw(rt, "events") {
				e := validEvent(rt, want, w)
				events = append(events, e)
				if err := rp.Apply(h, e); err != nil {
					rt.Fatal(err)
				}
			}
			w.commitWith(func(b *Builder) { b.Reheader(h) }, events...)
			for c, err := range w.log().Commits(t.Context(), h.Number, h.Number) {
				if err == nil {
					err = m.Apply(c)
				}
				if err != nil {
					rt.Fatal(err)
				}
			}
			compare(rt, want, m)
			if rapid.IntRange(0, 2).Draw(rt, "checkpoint") > 0 {
				continue
			}
			if _, err := m.WriteCheckpoint(t.Context(), w.options()); err != nil {
				rt.Fatal(err)
			}
			compare(rt, want, m)
			if rapid.Bool().Draw(rt, "reload") {
				if m, err = Load(t.Context(), w.store, anne, Moment{}); err != nil {
					rt.Fatal(err)
				}
				compare(rt, want, m)
			}
		}
		fromLog, err := Load(t.Context(), w.store, anne, Moment{FromLog: true})
		if err != nil {
			rt.Fatal(err)
		}
		compare(rt, want, fromLog)
	})
}

func compare(t *rapid.T, want *plainState, m *Mem) {
	if a, b := dump(t, want, want.each), dumpMem(t, m); a != b {
		t.Fatalf("want\n%s\nhave\n%s", a, b)
	}
	for u, old := range want.mailboxes {
		now, err := Recount(m, u)
		if err != nil {
			t.Fatal(err)
		}
		if now.Records != old.Records || now.Live != old.Live || now.CRC != old.CRC || now.TopUID > old.TopUID {
			t.Fatalf("mailbox %s: counted %+v, recounted %+v", u, old, now)
		}
		byName, err := m.MailboxByName(old.Name)
		if err != nil || (old.Deleted.IsZero() && byName.UniqueID != u) {
			t.Fatalf("mailbox %s is not found by its name: %v, %v", u, byName, err)
		}
	}
	for n := range 31 {
		g := message(text(n, 10)).GUID
		a, _ := want.Message(g)
		b, err := m.Message(g)
		if err != nil || fmt.Sprint(a) != fmt.Sprint(b) {
			t.Fatalf("message %s: want %v, have %v, %v", g, a, b, err)
		}
	}
}
