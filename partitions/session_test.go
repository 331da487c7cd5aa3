package partitions_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
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

// A rolling sync of one new message takes one PUT and no LIST.
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
	if ops["stat"].Ops > 2 || ops["get"].Ops > 1 {
		t.Errorf("a rolling sync of one message took %+v, want two concurrent stats and at most one get", ops)
	}
}

func TestManyMessagesFewPuts(t *testing.T) {
	s, n := counted(newStore())
	h := newHostWith(t, patient, s)
	inbox := newSource("user.anne")
	total := 0
	for i := range 2000 {
		b := mail(i, 5000)
		total += len(b)
		inbox.deliver(b)
	}
	c := h.client()
	c.mustSync("anne", inbox)
	ops := n.Snapshot()
	// One put for each 8 MiB, two for the mailbox, and those of a new repository.
	made := 4 + 60
	if most := total/(8<<20) + 2 + made; ops["put"].Ops > most {
		t.Errorf("%d bytes took %d puts, want at most %d", total, ops["put"].Ops, most)
	}
	c.s.Close()
	h.expectSame("anne", inbox)
	checkBucket(t, s, "user/anne", inbox)
}

func TestLargeMessagesShareChunks(t *testing.T) {
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

// noise returns n bytes that do not compress.
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
	for i := range 400 { // too many for a commit to store inline
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

// A message that is stored inline in one user's commit cannot be used by another user.
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

// If the index is missing, it is rebuilt from the bucket, and a sync sends nothing.
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
	h.stop() // waits for a checkpoint in progress, or abandons it
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

func TestUnknownMessageIsRefused(t *testing.T) {
	h := newHost(t, newStore())
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500))
	c := h.client()
	if err := c.s.ApplyMailbox(t.Context(), inbox.head(), cyrus.Since{}, seq(inbox.records)); !errors.Is(err, cyrus.ErrBadParameters) {
		t.Fatalf("a record of a message that was never sent: %v, want ErrBadParameters", err)
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
		t.Fatalf("a record of the refused message: %v, want ErrBadParameters", err)
	}
}

// The source cannot read the file of a message. Everything else is stored, and the message is
// stored as soon as it can be read.
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
		t.Fatalf("the unreadable message: %+v, %v; want it recorded as missing", msg, err)
	}
	inbox.bodies[bad.GUID] = body
	h.sync("anne", inbox)
	checkBucket(t, s, "user/anne", inbox)
	h.expectSame("anne", inbox)
}

// A 3.12 client requests the user's mailboxes twice. The mailbox with a missing body is left
// out both times, and then sent whole.
func TestUnreadableMessageIsRequestedTwice(t *testing.T) {
	s := newStore()
	var ahead time.Duration
	h := newHostWith(t, func(o *partitions.Options) {
		o.Now = func() time.Time { return time.Now().Add(ahead) }
	}, s)
	inbox := newSource("user.anne")
	bad := inbox.deliver(mail(1, 500))
	body := inbox.bodies[bad.GUID]
	delete(inbox.bodies, bad.GUID)
	h.sync("anne", inbox)
	inbox.bodies[bad.GUID] = body
	h.expectSame("anne", inbox)
	ahead = 25 * time.Hour
	c := h.client()
	if _, _, err := c.getUser("anne"); err != nil {
		t.Fatal(err)
	}
	there, err := c.getMailboxes(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.updateAll(there, inbox); err != nil {
		t.Fatal(err)
	}
	if there, err = c.getMailboxes(inbox); err != nil || len(there) != 1 {
		t.Errorf("after it was sent: %v, %v; want it reported", there, err)
	}
	c.s.Close()
	m := checkBucket(t, s, "user/anne", inbox)
	if msg, err := m.Message(bad.GUID); err != nil || msg.Missing {
		t.Errorf("the message: %+v, %v; want its body", msg, err)
	}
}

// sync_client -m requests the mailboxes of several users in one command, and their mail in one
// RESERVE. A message that is stored inline in one user's backup cannot be used by another user.
func TestMailboxesOfSeveralUsers(t *testing.T) {
	s := newStore()
	h := newHost(t, s)
	a, b := newSource("user.anne"), newSource("user.bert")
	b.deliver(mail(2, 500))
	h.sync("bert", b)
	a.deliver(mail(1, 500))
	h.sync("anne", a)
	b.deliver(mail(1, 500))
	c := h.client()
	there, err := c.getMailboxes(a, b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.updateAll(there, a, b); err != nil {
		t.Fatal(err)
	}
	c.s.Close()
	checkBucket(t, s, "user/bert", b)
	h.expectSame("bert", b)
	h.expectSame("anne", a)
}

// Fields may follow the records. The head is complete only after the records.
func TestFieldsAfterRecords(t *testing.T) {
	s := newStore()
	h := newHost(t, s)
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500))
	inbox.extra = []dlist.Pair{dlist.P("X-LATE", dlist.S("here"))}
	whole := inbox.head()
	mb := *whole
	mb.Fields = whole.Fields[:len(whole.Fields)-1]
	c := h.client()
	if err := c.upload(t.Context(), inbox, inbox.records[0]); err != nil {
		t.Fatal(err)
	}
	records := func(yield func(*cyrus.Record, error) bool) {
		if yield(inbox.records[0], nil) {
			mb = *whole
		}
	}
	if err := c.s.ApplyMailbox(t.Context(), &mb, cyrus.Since{}, records); err != nil {
		t.Fatal(err)
	}
	c.s.Close()
	m := checkBucket(t, s, "user/anne", inbox)
	if got, err := m.Mailbox(inbox.uniqueid); err != nil || len(got.Fields) != len(whole.Fields) {
		t.Errorf("the mailbox has %d fields, %v; want %d", len(got.Fields), err, len(whole.Fields))
	}
	h.expectSame("anne", inbox)
}

// No message has a GUID of zeros. A record with such a GUID, for a message that the source
// cannot read, is refused: a commit with this record would be unreadable.
func TestRecordWithoutGUID(t *testing.T) {
	h := newHost(t, newStore())
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500)).GUID = cyrus.GUID{}
	c := h.client()
	if err := c.s.MessageUnreadable(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.s.ApplyMailbox(t.Context(), inbox.head(), cyrus.Since{}, seq(inbox.records)); !errors.Is(err, cyrus.ErrBadParameters) {
		t.Errorf("a record without a GUID: %v, want ErrBadParameters", err)
	}
	if err := c.s.ApplySub(t.Context(), "anne", "user.anne", true); err != nil {
		t.Errorf("the next command: %v", err)
	}
}
