package partitions_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"backupd/partitions/history"
	"backupd/replication/cyrus"
	"backupd/replication/dlist"
)

func TestFirstSyncThenNothing(t *testing.T) {
	s := newStore()
	h := newHost(t, s)
	inbox, sent := newSource("user.anne"), newSource("user.anne.Sent")
	for i := range 30 {
		inbox.deliver(mail(i, 3000))
	}
	sent.deliver(mail(3, 3000)) // the same message in two mailboxes
	inbox.deliver(mail(3, 3000))
	inbox.deliver([]byte{}) // empty
	c := h.client()
	c.mustSync("anne", inbox, sent)
	c.s.Close()
	h.expectSame("anne", inbox, sent)
	checkBucket(t, s, "user/anne", inbox, sent)
}

func TestFlagsAndExpunge(t *testing.T) {
	s := newStore()
	h := newHost(t, s)
	inbox := newSource("user.anne")
	for i := range 5 {
		inbox.deliver(mail(i, 2000))
	}
	h.sync("anne", inbox)
	inbox.flag(inbox.records[1], `\Seen`, "$Label1")
	inbox.flag(inbox.records[2], `\Deleted`, `\Expunged`)
	c := h.client()
	c.mustSync("anne", inbox)
	c.s.Close()
	h.expectSame("anne", inbox)
	gone := inbox.records[2]
	inbox.records = slices.Delete(inbox.records, 2, 3)
	m := checkBucket(t, s, "user/anne", inbox)
	r, err := m.Record(inbox.uniqueid, gone.UID)
	if err != nil || r == nil || r.Expunged == 0 {
		t.Fatalf("the expunged record is not in the history: %v, %v", r, err)
	}
}

// A rolling sync of one new message is one PUT and no LIST.
func TestOneMessageIsOnePut(t *testing.T) {
	s, n := counted(newStore())
	h := newHost(t, s)
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 5000))
	h.sync("anne", inbox)
	inbox.deliver(mail(2, 5000))
	c := h.client()
	n.Reset()
	c.mustSync("anne", inbox)
	ops := n.Snapshot()
	if ops["put"].Ops != 1 || ops["list"].Ops != 0 {
		t.Errorf("a rolling sync of one message took %+v, want one put and no list", ops)
	}
	if ops["stat"].Ops > 1 || ops["get"].Ops > 1 {
		t.Errorf("a rolling sync of one message took %+v, want one stat and at most one get", ops)
	}
}

func TestManyMessagesFewPuts(t *testing.T) {
	s, n := counted(newStore())
	h := newHostWith(t, patient, s)
	inbox := newSource("user.anne")
	total := 0
	for i := range 4000 {
		b := mail(i, 5000)
		total += len(b)
		inbox.deliver(b)
	}
	c := h.client()
	c.mustSync("anne", inbox)
	ops := n.Snapshot()
	// One for each 8 MiB, two for the mailbox, and what makes a new repository.
	made := 4 + 60
	if most := total/(8<<20) + 2 + made; ops["put"].Ops > most {
		t.Errorf("%d bytes took %d puts, want at most %d", total, ops["put"].Ops, most)
	}
	c.s.Close()
	h.expectSame("anne", inbox)
	checkBucket(t, s, "user/anne", inbox)
}

func TestLargeMessagesShareWhatTheyHaveInCommon(t *testing.T) {
	s, n := counted(newStore())
	h := newHost(t, s)
	inbox := newSource("user.anne")
	attachment := noise(7, 6<<20)
	inbox.deliver(slices.Concat(mail(1, 400), attachment))
	h.sync("anne", inbox)
	n.Reset()
	inbox.deliver(slices.Concat(mail(2, 900), attachment, []byte("--end--\r\n")))
	h.sync("anne", inbox)
	if b := n.Snapshot()["put"].Bytes; b > 3<<20 {
		t.Errorf("a second message with the same attachment of 6 MiB put %d bytes", b)
	}
	h.expectSame("anne", inbox)
	checkBucket(t, s, "user/anne", inbox)
}

// noise is n bytes that do not compress.
func noise(seed uint64, n int) []byte {
	b := make([]byte, 0, n+8)
	for x := seed; len(b) < n; {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b = append(b, byte(x), byte(x>>8), byte(x>>16), byte(x>>24), byte(x>>32), byte(x>>40), byte(x>>48), byte(x>>56))
	}
	return b[:n]
}

func TestMessagesAreSharedAcrossUsers(t *testing.T) {
	s, n := counted(newStore())
	h := newHost(t, s)
	a, b := newSource("user.anne"), newSource("user.bert")
	for i := range 400 { // more than a commit takes inline
		a.deliver(mail(i, 5000))
		b.deliver(mail(i, 5000))
	}
	h.sync("anne", a)
	n.Reset()
	h.sync("bert", b)
	if got := n.Snapshot()["put"].Bytes; got > 200<<10 {
		t.Errorf("the same mail for a second user put %d bytes", got)
	}
	checkBucket(t, s, "user/bert", b)
}

// What lies inline in one user's commit is not another's to refer to.
func TestInlineIsNotShared(t *testing.T) {
	s := newStore()
	h := newHost(t, s)
	a, b := newSource("user.anne"), newSource("user.bert")
	a.deliver(mail(1, 500))
	b.deliver(mail(1, 500))
	h.sync("anne", a)
	h.sync("bert", b)
	checkBucket(t, s, "user/bert", b)
}

// Without the index, everything comes from the bucket again, and a sync sends nothing.
func TestIndexIsRebuilt(t *testing.T) {
	s := newStore()
	h := newHost(t, s)
	boxes := []*source{newSource("user.anne"), newSource("user.anne.A"), newSource("user.anne.B")}
	for i := range 500 {
		boxes[i%3].deliver(mail(i, 4000))
	}
	c := h.client()
	c.mustSync("anne", boxes...)
	boxes[0].flag(boxes[0].records[3], `\Seen`)
	c.mustSync("anne", boxes...)
	if err := c.s.ApplySub(t.Context(), "anne", "user.anne.A", true); err != nil {
		t.Fatal(err)
	}
	c.s.Close()
	h.stop()
	if err := os.RemoveAll(h.dir); err != nil {
		t.Fatal(err)
	}
	h.start()
	h.expectSame("anne", boxes...)
	if _, lines, err := h.client().getUser("anne"); err != nil || !slices.Contains(lines, "LSUB (user.anne.A)") {
		t.Errorf("after the rebuild: %v, %v", lines, err)
	}
}

func TestRebuildFromCheckpoint(t *testing.T) {
	s := newStore()
	h := newHost(t, s)
	h.stop()
	h.opt.CheckpointObject = 5
	h.start()
	inbox := newSource("user.anne")
	for i := range 12 {
		inbox.deliver(mail(i, 2000))
		h.sync("anne", inbox)
	}
	h.stop() // waits for a checkpoint that is being written, or gives it up
	h.start()
	inbox.deliver(mail(99, 2000))
	h.sync("anne", inbox)
	waitFor(t, func() bool {
		n, err := (&history.Log{Store: s, Backup: "user/anne"}).Checkpoints(t.Context())
		return err == nil && len(n) > 0
	})
	h.stop()
	if err := os.RemoveAll(h.dir); err != nil {
		t.Fatal(err)
	}
	h.start()
	h.expectSame("anne", inbox)
	checkBucket(t, s, "user/anne", inbox)
}

func TestSinceIsChecked(t *testing.T) {
	h := newHost(t, newStore())
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500))
	c := h.client()
	c.mustSync("anne", inbox)
	r := inbox.deliver(mail(2, 500))
	if err := c.upload(t.Context(), inbox, r); err != nil {
		t.Fatal(err)
	}
	err := c.s.ApplyMailbox(t.Context(), inbox.head(), cyrus.Since{Set: true, ModSeq: 1}, seq(inbox.records[1:]))
	if !errors.Is(err, cyrus.ErrSyncChanged) {
		t.Fatalf("a delta over another state: %v, want ErrSyncChanged", err)
	}
	c.mustSync("anne", inbox)
	c.s.Close()
	h.expectSame("anne", inbox)
}

// The source was restored to an older state: it is not asked to change, and ends up
// here as it is; what it was before is in the history.
func TestSourceGoesBack(t *testing.T) {
	s := newStore()
	h := newHost(t, s)
	inbox := newSource("user.anne")
	for i := range 3 {
		inbox.deliver(mail(i, 500))
	}
	old := *inbox
	old.records = slices.Clone(inbox.records)
	inbox.deliver(mail(10, 500))
	inbox.deliver(mail(11, 500))
	h.sync("anne", inbox)
	before, err := history.Load(t.Context(), s, "user/anne", history.Moment{})
	if err != nil {
		t.Fatal(err)
	}
	h.sync("anne", &old) // notices
	h.sync("anne", &old) // sends it whole
	h.expectSame("anne", &old)
	old.deliver(mail(20, 500)) // the uid of another message in the former state
	h.sync("anne", &old)
	h.expectSame("anne", &old)
	checkBucket(t, s, "user/anne", &old)
	then, err := history.Load(t.Context(), s, "user/anne", history.Moment{Number: before.Tip().Number})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := then.Mailbox(inbox.uniqueid); err != nil || m.Live != 5 {
		t.Errorf("the former state has %+v, %v; want 5 live records", m, err)
	}
}

func TestWrongCRCLeadsToResync(t *testing.T) {
	h := newHost(t, newStore())
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500))
	c := h.client()
	c.mustSync("anne", inbox)
	inbox.deliver(mail(2, 500))
	mb := inbox.head()
	mb.SyncCRC ^= 1 // as if a record had been lost on the way
	if err := c.upload(t.Context(), inbox, inbox.records[1]); err != nil {
		t.Fatal(err)
	}
	if err := c.s.ApplyMailbox(t.Context(), mb, cyrus.Since{Set: true, ModSeq: 2}, seq(inbox.records[1:])); err != nil {
		t.Fatal(err)
	}
	if st, _, err := c.getUser("anne"); err != nil || len(st) != 0 {
		t.Fatalf("a mailbox in resync is reported: %v, %v", st, err)
	}
	if _, _, err := c.s.GetFullMailbox(t.Context(), "user.anne"); !errors.Is(err, cyrus.ErrNonexistent) {
		t.Fatalf("GET FULLMAILBOX of a mailbox in resync: %v, want ErrNonexistent", err)
	}
	c.mustSync("anne", inbox)
	c.s.Close()
	h.expectSame("anne", inbox)
}

// The backup was away while mail was expunged and cleaned up (client-behaviour.md f10).
func TestFullMailboxAndExpunge(t *testing.T) {
	s := newStore()
	h := newHost(t, s)
	inbox := newSource("user.anne")
	for i := range 5 {
		inbox.deliver(mail(i, 500))
	}
	c := h.client()
	c.mustSync("anne", inbox)
	if _, _, err := c.getUser("anne"); err != nil {
		t.Fatal(err)
	}
	_, records, err := c.s.GetFullMailbox(t.Context(), "user.anne")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range records {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 5 {
		t.Fatalf("GET FULLMAILBOX gave %d records, want 5", n)
	}
	if err := c.s.ApplyExpunge(t.Context(), "user.anne", inbox.uniqueid, []uint32{1, 3}); err != nil {
		t.Fatal(err)
	}
	inbox.records = slices.DeleteFunc(inbox.records, func(r *cyrus.Record) bool { return r.UID == 1 || r.UID == 3 })
	inbox.modseq += 2
	if _, _, err := c.getUser("anne"); err != nil {
		t.Fatal(err)
	}
	// No SINCE_*, and no record: a delta all the same.
	if err := c.s.ApplyMailbox(t.Context(), inbox.head(), cyrus.Since{}, seq(nil)); err != nil {
		t.Fatal(err)
	}
	c.s.Close()
	h.expectSame("anne", inbox)
	checkBucket(t, s, "user/anne", inbox)
}

func TestUnknownMessageIsRefused(t *testing.T) {
	h := newHost(t, newStore())
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500))
	c := h.client()
	if err := c.s.ApplyMailbox(t.Context(), inbox.head(), cyrus.Since{}, seq(inbox.records)); !errors.Is(err, cyrus.ErrBadParameters) {
		t.Fatalf("a record of a message that never came: %v, want ErrBadParameters", err)
	}
	c.mustSync("anne", inbox)
	c.s.Close()
	h.expectSame("anne", inbox)
}

func TestWrongGUIDIsRefused(t *testing.T) {
	h := newHost(t, newStore())
	c := h.client()
	for _, n := range []int{500, 3 << 20} {
		body := mail(1, n)
		err := c.s.Message(t.Context(), "default", cyrus.GUID{1}, int64(len(body)), strings.NewReader(string(body)))
		if !errors.Is(err, cyrus.ErrBadParameters) {
			t.Fatalf("message of %d bytes with a wrong GUID: %v, want ErrBadParameters", n, err)
		}
	}
	inbox := newSource("user.anne")
	r := inbox.deliver(mail(1, 500))
	r.GUID = cyrus.GUID{1}
	if err := c.s.ApplyMailbox(t.Context(), inbox.head(), cyrus.Since{}, seq(inbox.records)); !errors.Is(err, cyrus.ErrBadParameters) {
		t.Fatalf("the refused message can be referred to: %v", err)
	}
}

// The source cannot read the file of a message: everything else is kept, and the
// message once it can be read.
func TestUnreadableMessage(t *testing.T) {
	s := newStore()
	h := newHost(t, s)
	h.stop()
	h.opt.MissingRetry = 1 // a nanosecond
	h.start()
	inbox := newSource("user.anne")
	bad := inbox.deliver(mail(1, 500))
	inbox.deliver(mail(2, 500))
	body := inbox.bodies[bad.GUID]
	delete(inbox.bodies, bad.GUID)
	h.sync("anne", inbox)
	m := checkBucket(t, s, "user/anne", inbox)
	if msg, err := m.Message(bad.GUID); err != nil || msg == nil || !msg.Missing {
		t.Fatalf("the unreadable message: %+v, %v; want it known as missing", msg, err)
	}
	inbox.bodies[bad.GUID] = body
	h.sync("anne", inbox)
	checkBucket(t, s, "user/anne", inbox)
	h.expectSame("anne", inbox)
}

func TestItemsAreEchoed(t *testing.T) {
	h := newHost(t, newStore())
	c := h.client()
	ctx := t.Context()
	script := cyrus.Sieve{UserID: "anne", Filename: "main.script", LastUpdate: 1700000000, Content: "keep;\r\n"}
	quota := cyrus.Quota{Root: "user.anne", Fields: []dlist.Pair{dlist.P("ROOT", dlist.S("user.anne")), dlist.P("LIMIT", dlist.N(1000)), dlist.P("MODSEQ", dlist.N(3))}}
	seen := cyrus.Seen{UserID: "anne", UniqueID: "abc", Fields: []dlist.Pair{dlist.P("UNIQUEID", dlist.S("abc")), dlist.P("LASTREAD", dlist.N(1)), dlist.P("SEENUIDS", dlist.S("1:3"))}}
	for _, do := range []func() error{
		func() error { return c.s.ApplyQuota(ctx, quota) },
		func() error { return c.s.ApplySeen(ctx, seen) },
		func() error { return c.s.ApplySub(ctx, "anne", "user.anne", true) },
		func() error { return c.s.ApplySieve(ctx, script) },
		func() error { return c.s.ApplyActivateSieve(ctx, "anne", "main.bc") },
	} {
		for range 2 { // each is safe to repeat
			if err := do(); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{
		"QUOTA %(ROOT user.anne LIMIT 1000 MODSEQ 3)",
		"SEEN %(UNIQUEID abc LASTREAD 1 SEENUIDS 1:3)",
		"LSUB (user.anne)",
		"SIEVE %(FILENAME main.script LAST_UPDATE 1700000000 GUID e72bd6a47dbbf6a04c6de4a1c1b8bcb8bcea2b55 ISACTIVE 0)",
		"SIEVE %(FILENAME main.bc LAST_UPDATE 0 GUID 0000000000000000000000000000000000000000 ISACTIVE 1)",
	}
	_, lines, err := c.getUser("anne")
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range lines {
		if i == 3 { // the hash of the content
			continue
		}
		if i >= len(want) || l != want[i] {
			t.Errorf("line %d: %s, want %v", i, l, want)
		}
	}
	for _, do := range []func() error{
		func() error { return c.s.ApplyUnquota(ctx, "user.anne") },
		func() error { return c.s.ApplySub(ctx, "anne", "user.anne", false) },
		func() error { return c.s.ApplyUnactivateSieve(ctx, "anne") },
		func() error { return c.s.ApplyUnsieve(ctx, "anne", "main.script") },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	if _, lines, err = c.getUser("anne"); err != nil || len(lines) != 1 {
		t.Errorf("after the removals: %q, %v; want the seen state alone", lines, err)
	}
}

func TestServerAnnotation(t *testing.T) {
	h := newHost(t, newStore())
	c := h.client()
	a := cyrus.MailboxAnnotation{Entry: "/motd", Value: ptr("hello")}
	if err := c.s.ApplyAnnotation(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	var lines []string
	get := func() {
		lines = nil
		if err := c.s.GetAnnotation(t.Context(), "", func(k string, v dlist.Value) error {
			lines = append(lines, k+" "+string(dlist.Append(nil, v, false)))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if get(); len(lines) != 1 || lines[0] != `ANNOTATION %(MBOXNAME "" ENTRY /motd USERID "" VALUE hello)` {
		t.Errorf("%q", lines)
	}
	if err := c.s.ApplyUnannotation(t.Context(), "", "/motd", ""); err != nil {
		t.Fatal(err)
	}
	if get(); len(lines) != 0 {
		t.Errorf("after UNANNOTATION: %q", lines)
	}
}

// GET never creates anything.
func TestGetCreatesNothing(t *testing.T) {
	s, n := counted(newStore())
	h := newHost(t, s)
	c := h.client()
	if _, lines, err := c.getUser("nobody"); err != nil || len(lines) != 0 {
		t.Fatal(lines, err)
	}
	if err := c.s.GetMailboxes(t.Context(), []string{"user.nobody", "shared.x"}, func(string, dlist.Value) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if p := n.Snapshot()["put"].Ops; p != 0 {
		t.Errorf("GET put %d objects", p)
	}
}

func TestRenameWithinAndUnmailbox(t *testing.T) {
	s := newStore()
	h := newHost(t, s)
	a := newSource("user.anne.A")
	a.deliver(mail(1, 500))
	c := h.client()
	c.mustSync("anne", a)
	if err := c.s.ApplyRename(t.Context(), cyrus.Rename{Old: "user.anne.A", New: "user.anne.B", Partition: "default", UIDValidity: a.validity}); err != nil {
		t.Fatal(err)
	}
	a.name = "user.anne.B"
	c.mustSync("anne", a)
	c.s.Close()
	h.expectSame("anne", a)
	c = h.client()
	if err := c.s.ApplyUnmailbox(t.Context(), "user.anne.B"); err != nil {
		t.Fatal(err)
	}
	if err := c.s.ApplyUnmailbox(t.Context(), "user.anne.B"); err != nil {
		t.Fatal("a repetition:", err)
	}
	if st, _, err := c.getUser("anne"); err != nil || len(st) != 0 {
		t.Fatal(st, err)
	}
	m, err := history.Load(t.Context(), s, "user/anne", history.Moment{})
	if err != nil {
		t.Fatal(err)
	}
	if mb, err := m.Mailbox(a.uniqueid); err != nil || mb == nil || mb.Deleted.IsZero() || mb.Live != 1 {
		t.Errorf("the deleted mailbox is %+v, %v; want a tombstone with its record", mb, err)
	}
}

// A user is renamed: the mailbox moves to the new name's backup, with its mail, and
// its past stays where it was.
func TestRenameAcrossUsers(t *testing.T) {
	for _, size := range []int{500, 2 << 20} {
		s := newStore()
		h := newHost(t, s)
		a := newSource("user.bert")
		a.deliver(mail(1, size))
		gone := a.deliver(mail(2, 500))
		c := h.client()
		c.mustSync("bert", a)
		a.flag(gone, `\Expunged`)
		c.mustSync("bert", a)
		r := cyrus.Rename{Old: "user.bert", New: "user.berti", Partition: "default", UIDValidity: a.validity}
		if err := c.s.ApplyRename(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if err := c.s.ApplyRename(t.Context(), r); !errors.Is(err, cyrus.ErrNonexistent) {
			t.Fatalf("the old name after the rename: %v, want ErrNonexistent", err)
		}
		c.s.Close()
		a.name = "user.berti"
		h.expectSame("berti", a)
		if st, _, err := h.client().getUser("bert"); err != nil || len(st) != 0 {
			t.Fatalf("the old user still has %v, %v", st, err)
		}
		a.records = a.records[:1]
		checkBucket(t, s, "user/berti", a)
	}
}

// The new name's mail is sent without a RENAME: the old backup gives the mailbox up.
func TestUserRenamedUnseen(t *testing.T) {
	s := newStore()
	h := newHost(t, s)
	a := newSource("user.bert")
	for i := range 300 {
		a.deliver(mail(i, 5000))
	}
	c := h.client()
	c.mustSync("bert", a)
	c.s.Close()
	a.name = "user.berti"
	c = h.client()
	c.mustSync("berti", a)
	c.s.Close()
	h.expectSame("berti", a)
	if st, _, err := h.client().getUser("bert"); err != nil || len(st) != 0 {
		t.Errorf("the old user still has %v, %v", st, err)
	}
	checkBucket(t, s, "user/berti", a)
}

func TestUnuser(t *testing.T) {
	h := newHost(t, newStore())
	a := newSource("user.anne")
	a.deliver(mail(1, 500))
	c := h.client()
	c.mustSync("anne", a)
	for range 2 {
		if err := c.s.ApplyUnuser(t.Context(), "anne"); err != nil {
			t.Fatal(err)
		}
	}
	if st, lines, err := c.getUser("anne"); err != nil || len(st) != 0 || len(lines) != 0 {
		t.Fatal(lines, err)
	}
	// The account is made anew under the same name.
	b := newSource("user.anne")
	b.uniqueid = "another"
	b.deliver(mail(2, 500))
	c.mustSync("anne", b)
	c.s.Close()
	h.expectSame("anne", b)
}

func TestRecreatedMailboxReplacesTheOld(t *testing.T) {
	s := newStore()
	h := newHost(t, s)
	a := newSource("user.anne.A")
	a.deliver(mail(1, 500))
	h.sync("anne", a)
	b := newSource("user.anne.A")
	b.uniqueid = "recreated"
	b.deliver(mail(2, 500))
	h.sync("anne", b)
	h.expectSame("anne", b)
	checkBucket(t, s, "user/anne", b)
}
