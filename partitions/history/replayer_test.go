package history

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// replayed returns a Mem after commits with these events, from number 1 on.
func replayed(t *testing.T, commits ...[]Event) *Mem {
	t.Helper()
	w := newWriter(t)
	for _, events := range commits {
		w.commit(events...)
	}
	return w.load(Moment{})
}

func at(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }

func box(t *testing.T, m *Mem, uniqueid string) *MailboxState {
	t.Helper()
	b, err := m.Mailbox(uniqueid)
	if err != nil || b == nil {
		t.Fatal(uniqueid, b, err)
	}
	return b
}

func rec(t *testing.T, m *Mem, uniqueid string, uid uint32) *RecordState {
	t.Helper()
	r, err := m.Record(uniqueid, uid)
	if err != nil || r == nil {
		t.Fatal(uniqueid, uid, r, err)
	}
	return r
}

var g1, g2 = message(text(1, 10)).GUID, message(text(2, 10)).GUID

func records(uniqueid string, list ...*cyrus.Record) *RecordsEvent {
	return &RecordsEvent{UniqueID: uniqueid, Records: list}
}

func TestRecordsAreUpserts(t *testing.T) {
	m := replayed(t,
		[]Event{mailbox("a", "user.anne"), records("a", record(1, g1), record(2, g2), record(3, g1, `\Expunged`))},
		[]Event{records("a", record(2, g2, `\Seen`, `\Expunged`))},
		[]Event{records("a", record(2, g2, `\expunged`), record(3, g1))}, // still expunged; live again
	)
	b := box(t, m, "a")
	crc := cyrus.NewCRC()
	crc.Add(record(1, g1))
	crc.Add(record(3, g1))
	if b.Records != 3 || b.Live != 2 || b.CRC != crc || b.TopUID != 3 || b.Commit != 3 || b.Seq != 1 {
		t.Errorf("%+v", b)
	}
	if r := rec(t, m, "a", 2); r.Expunged != at(2).Unix() || r.Commit != 3 || r.Gone {
		t.Errorf("uid 2 was first seen expunged by commit 2: %+v", r)
	}
	if r := rec(t, m, "a", 3); r.Expunged != 0 || r.Commit != 3 {
		t.Errorf("uid 3 is live again: %+v", r)
	}
}

func TestCompleteSetExpunges(t *testing.T) {
	m := replayed(t,
		[]Event{mailbox("a", "user.anne"), records("a", record(1, g1), record(2, g2, `\Seen`), record(3, g1, `\Expunged`), record(4, g1))},
		[]Event{mailbox("a", "user.anne"), records("a", record(1, g1)), &CompleteEvent{UniqueID: "a"}, records("a", record(4, g2))},
	)
	b := box(t, m, "a")
	if b.Records != 4 || b.Live != 2 {
		t.Errorf("%+v", b)
	}
	if r := rec(t, m, "a", 2); !r.Gone || r.Expunged != at(2).Unix() || !slices.Equal(r.Flags, []string{`\Seen`, `\Expunged`}) || r.Commit != 2 {
		t.Errorf("uid 2 is gone: %+v", r)
	}
	if r := rec(t, m, "a", 3); r.Gone || r.Commit != 1 || r.Expunged != at(1).Unix() {
		t.Errorf("uid 3 was expunged before: %+v", r)
	}
	if r := rec(t, m, "a", 4); r.Gone || r.Expunged != 0 || r.GUID != g2 {
		t.Errorf("uid 4 was sent again after the complete event: %+v", r)
	}
}

func TestExpunge(t *testing.T) {
	m := replayed(t,
		[]Event{mailbox("a", "user.anne"), records("a", record(1, g1), record(2, g2))},
		[]Event{&ExpungeEvent{UniqueID: "a", UIDs: []uint32{2, 3, 2}}},
	)
	r := rec(t, m, "a", 2)
	if r.Gone || r.Expunged != at(2).Unix() || !slices.Equal(r.Flags, []string{`\Expunged`}) || r.ModSeq != 12 {
		t.Errorf("%+v", r)
	}
	if b := box(t, m, "a"); b.Live != 1 || b.Records != 2 || b.Commit != 2 {
		t.Errorf("%+v", b)
	}
}

func TestRenamedAndDeletedMailboxes(t *testing.T) {
	m := replayed(t,
		[]Event{mailbox("a", "user.anne", "COLOUR", "red"), mailbox("b", "user.anne.b"), mailbox("c", "user.anne.c")},
		[]Event{&RenameEvent{UniqueID: "a", Old: "user.anne", New: "user.anne.x", Partition: "p2", UIDValidity: 5}, &UnmailboxEvent{UniqueID: "b"}},
		[]Event{&UnmailboxEvent{UniqueID: "b"}, &MovedAwayEvent{UniqueID: "c", To: "user/bob"}, &ResyncEvent{UniqueID: "a", Reason: "crc"}},
		[]Event{mailbox("d", "user.anne.b"), records("b", record(1, g1))},
	)
	a := box(t, m, "a")
	for key, want := range map[string]string{"MBOXNAME": "user.anne.x", "PARTITION": "p2", "UIDVALIDITY": "5", "COLOUR": "red"} {
		i := slices.IndexFunc(a.Fields, func(p dlist.Pair) bool { return p.Key == key })
		if i < 0 || a.Fields[i].Value.Str != want {
			t.Errorf("field %s: %v", key, a.Fields)
		}
	}
	if a.Name != "user.anne.x" || a.Resync != "crc" || a.Commit != 3 {
		t.Errorf("%+v", a)
	}
	if b := box(t, m, "b"); !b.Deleted.Equal(at(2)) || b.Records != 1 {
		t.Errorf("b was deleted by commit 2 and keeps its records: %+v", b)
	}
	if c := box(t, m, "c"); !c.Deleted.Equal(at(3)) || c.MovedTo != "user/bob" {
		t.Errorf("%+v", c)
	}
	for name, want := range map[string]string{"user.anne": "", "user.anne.x": "a", "user.anne.b": "d", "user.anne.c": ""} {
		got, err := m.MailboxByName(name)
		if err != nil || (got == nil) != (want == "") || got != nil && got.UniqueID != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if err := m.applyEvents(t, mailbox("c", "user.anne.b")); err != nil { // back, with the name of d
		t.Fatal(err)
	}
	if c := box(t, m, "c"); !c.Deleted.IsZero() || c.MovedTo != "" || c.Seq != 3 {
		t.Errorf("%+v", c)
	}
	if d := box(t, m, "d"); d.Deleted.IsZero() {
		t.Errorf("two live mailboxes have the same name: %+v", d)
	}
}

// applyEvents applies events as if they were another commit.
func (m *Mem) applyEvents(t *testing.T, events ...Event) error {
	t.Helper()
	rp := Replayer{State: m, Blocks: m.readBlock}
	for _, e := range events {
		if err := rp.Apply(Header{Backup: anne, Number: 99, Time: at(99)}, e); err != nil {
			return err
		}
	}
	return nil
}

func TestItems(t *testing.T) {
	value := "v"
	sieve := &SieveEvent{User: "anne", Filename: "x", Content: "keep;", GUID: g1}
	m := replayed(t,
		[]Event{sieve, &SieveActiveEvent{User: "anne", Filename: "x.bc"}, &SubEvent{User: "anne", Name: "user.anne", Subscribed: true},
			&QuotaEvent{Root: "user.anne"}, &AnnotationEvent{Name: "user.anne", Entry: "/comment", Value: &value},
			&AnnotationEvent{Name: "", Entry: "/motd", Value: &value}, &SeenEvent{User: "anne", UniqueID: "a"}},
		[]Event{&UnsieveEvent{User: "anne", Filename: "x"}, &UnsieveEvent{User: "anne", Filename: "y"}, &AnnotationEvent{Name: "user.anne", Entry: "/comment"}},
		[]Event{&UnsieveEvent{User: "anne", Filename: "x"}, &UnuserEvent{User: "anne"}},
	)
	i, err := m.Item(ItemKey{Kind: ItemSieve, A: "anne", B: "x"})
	if err != nil || i == nil || !i.Deleted.Equal(at(2)) || i.Commit != 2 || i.Event.(*SieveEvent).Content != "keep;" {
		t.Errorf("the script was removed by commit 2 and its text is kept: %+v, %v", i, err)
	}
	if i, _ := m.Item(ItemKey{Kind: ItemSieve, A: "anne", B: "y"}); i != nil {
		t.Errorf("tombstone of an unknown script: %+v", i)
	}
	for k, want := range map[ItemKey]time.Time{
		{Kind: ItemSieveActive, A: "anne"}:                    at(3),
		{Kind: ItemSub, A: "anne", B: "user.anne"}:            at(3),
		{Kind: ItemSeen, A: "anne", B: "a"}:                   at(3),
		{Kind: ItemQuota, A: "user.anne"}:                     at(3),
		{Kind: ItemAnnotation, A: "user.anne", B: "/comment"}: at(2),
		{Kind: ItemAnnotation, B: "/motd"}:                    {},
	} {
		i, err := m.Item(k)
		if err != nil || i == nil || !i.Deleted.Equal(want) {
			t.Errorf("%+v: want deleted %s, have %+v, %v", k, want, i, err)
		}
	}
}

func TestMessagesWithAndWithoutBody(t *testing.T) {
	with := message(text(1, 10))
	without := Message{GUID: with.GUID, Size: with.Size, Missing: true}
	m := replayed(t, []Event{&MessagesEvent{Messages: []Message{without}}})
	if s, err := m.Message(with.GUID); err != nil || !s.Missing {
		t.Errorf("%+v, %v", s, err)
	}
	m = replayed(t, []Event{&MessagesEvent{Messages: []Message{without, with}}}, []Event{&MessagesEvent{Messages: []Message{without}}})
	if s, err := m.Message(with.GUID); err != nil || s.Missing || s.Commit != 1 {
		t.Errorf("the body is lost: %+v, %v", s, err)
	}
}

func TestPrune(t *testing.T) {
	one, two, three := message(text(1, 10)), message(text(2, 10)), message(text(3, 10))
	place := func(m Message) Place {
		return Place{Chunk: m.Chunks[0], Object: "packs/ab/ab.tar.zst", Entry: m.GUID.String() + ".eml"}
	}
	w := newWriter(t)
	w.commitWith(func(b *Builder) {
		b.Place(place(one))
		b.Place(place(two))
		b.Place(place(three))
	}, mailbox("a", "user.anne"), mailbox("b", "user.anne.b"), &MessagesEvent{Messages: []Message{one, two, three}},
		records("a", record(1, one.GUID), record(2, two.GUID, `\Expunged`)), records("b", record(1, three.GUID)),
		&SubEvent{User: "anne", Name: "user.anne", Subscribed: true})
	w.commit(&UnmailboxEvent{UniqueID: "b"}, &SubEvent{User: "anne", Name: "user.anne"})
	w.commit(&PruneEvent{Before: at(2)}) // drops the record, but not yet the mailbox
	m := w.load(Moment{})
	if r, err := m.Record("a", 2); r != nil || err != nil || box(t, m, "a").Records != 1 || box(t, m, "a").TopUID != 2 {
		t.Errorf("%+v, %v, %+v", r, err, box(t, m, "a"))
	}
	if s, err := m.Message(two.GUID); s != nil || err != nil {
		t.Errorf("a message that no record names: %+v, %v", s, err)
	}
	if box(t, m, "b").Records != 1 {
		t.Error("a younger tombstone was dropped")
	}
	w.commit(&PruneEvent{Before: at(3)})
	m = w.checkpoint()
	if b, _ := m.Mailbox("b"); b != nil {
		t.Errorf("%+v", b)
	}
	if i, _ := m.Item(ItemKey{Kind: ItemSub, A: "anne", B: "user.anne"}); i != nil {
		t.Errorf("%+v", i)
	}
	m = w.load(Moment{})
	for msg, want := range map[*Message]int{&one: 1, &two: 0, &three: 0} {
		if p, err := m.Places(msg.Chunks[0]); err != nil || len(p) != want {
			t.Errorf("places of %s: %v, %v", msg.GUID, p, err)
		}
	}
}

func TestEventsContradictingState(t *testing.T) {
	for _, e := range []Event{records("x", record(1, g1)), &CompleteEvent{UniqueID: "x"}, &ExpungeEvent{UniqueID: "x"}, &RenameEvent{UniqueID: "x"},
		&UnmailboxEvent{UniqueID: "x"}, &ResyncEvent{UniqueID: "x"}, &MovedAwayEvent{UniqueID: "x"}, &RecordBlocksEvent{UniqueID: "x"}, records("a", record(0, g1))} {
		w := newWriter(t)
		w.commit(mailbox("a", "user.anne"), e)
		_, err := Load(t.Context(), w.store, anne, Moment{})
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), LogKey(anne, 1)) || !strings.Contains(err.Error(), e.Kind()) {
			t.Errorf("%s: %v", e.Kind(), err)
		}
	}
	w := newWriter(t)
	w.commit(&SealedEvent{Reason: "erased"})
	if i, _ := w.load(Moment{}).Item(ItemKey{Kind: ItemSealed}); i == nil {
		t.Error("the state has no seal")
	}
	w.commit(mailbox("a", "user.anne"))
	if _, err := Load(t.Context(), w.store, anne, Moment{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a commit after the seal: %v", err)
	}
}
