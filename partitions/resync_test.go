package partitions_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/partitions/history"
)

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

// The source was restored to an older state. The source is not asked to change, and the backup
// follows it. The newer state is in the history.
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
	h.sync("anne", &old) // detects the older state
	h.sync("anne", &old) // sends the mailbox whole
	h.expectSame("anne", &old)
	old.deliver(mail(20, 500)) // has the UID of another message in the former state
	h.sync("anne", &old)
	h.expectSame("anne", &old)
	checkBucket(t, s, "user/anne", &old)
	then, err := history.Load(t.Context(), s, "user/anne", history.Moment{Number: before.Tip().Number})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := then.Mailbox(inbox.uniqueid); err != nil || m.Live != 5 {
		t.Errorf("the former state is %+v, %v; want 5 live records", m, err)
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
	mb.SyncCRC ^= 1 // as if a record had been lost in transit
	if err := c.upload(t.Context(), inbox, inbox.records[1]); err != nil {
		t.Fatal(err)
	}
	if err := c.s.ApplyMailbox(t.Context(), mb, cyrus.Since{Set: true, ModSeq: 2}, seq(inbox.records[1:])); err != nil {
		t.Fatal(err)
	}
	if st, _, err := c.getUser("anne"); err != nil || !st.empty(inbox) {
		t.Fatalf("a mailbox in resync is reported as %v, %v; want it empty", st, err)
	}
	fields, records, err := c.s.GetFullMailbox(t.Context(), "user.anne")
	if err != nil || !(state{inbox.uniqueid: dlist.KV(fields...)}).empty(inbox) {
		t.Fatalf("GET FULLMAILBOX of a mailbox in resync: %v, %v; want it empty", fields, err)
	}
	for r, err := range records {
		t.Fatalf("GET FULLMAILBOX of a mailbox in resync has a record: %v, %v", r, err)
	}
	c.mustSync("anne", inbox)
	c.s.Close()
	h.expectSame("anne", inbox)
}

// The source's own CRC is wrong: the source sends the mailbox whole once, not with every sync.
// A record that is lost after the CRC is right again is detected immediately.
func TestSourceWithWrongCRC(t *testing.T) {
	s := newStore()
	h := newHost(t, s)
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500))
	inbox.wrongCRC = 1
	sent := []int{}
	for range 4 {
		c := h.client()
		sent = append(sent, c.mustSync("anne", inbox))
		c.s.Close()
	}
	if want := []int{2, 1, 1, 1}; !slices.Equal(sent, want) { // the message is sent once, since RESERVE reports it as held
		t.Errorf("commands sent: %v, want %v", sent, want)
	}
	m := checkBucket(t, s, "user/anne", inbox)
	if mb, err := m.Mailbox(inbox.uniqueid); err != nil || mb.Resync != "" {
		t.Errorf("the mailbox: %+v, %v; want no resync", mb, err)
	}
	if n := m.Tip().Number; n != 3 { // the mailbox, its resync, the mailbox
		t.Errorf("the log has %d commits, want 3", n)
	}
	inbox.wrongCRC = 0
	inbox.deliver(mail(2, 500))
	h.sync("anne", inbox)
	h.expectSame("anne", inbox)
	inbox.wrongCRC = 1
	inbox.deliver(mail(3, 500))
	h.sync("anne", inbox)
	inbox.wrongCRC = 0
	if st, _, err := h.client().getUser("anne"); err != nil || !st.empty(inbox) {
		t.Errorf("a mailbox in resync is reported as %v, %v; want it empty", st, err)
	}
}

// After the client received the state of a mailbox, the mailbox goes into resync through
// another host. The next answer reports the mailbox as empty, and the client then sends the
// complete set.
func TestResyncBetweenTwoAnswers(t *testing.T) {
	s := newStore()
	h, other := newHost(t, s), newHost(t, s)
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500))
	inbox.deliver(mail(2, 500))
	h.sync("anne", inbox)
	c := h.client()
	there, err := c.getMailboxes(inbox)
	if err != nil {
		t.Fatal(err)
	}
	inbox.deliver(mail(3, 500))
	inbox.wrongCRC = 1
	other.sync("anne", inbox)
	inbox.wrongCRC = 0
	if _, err := c.updateAll(there, inbox); !errors.Is(err, cyrus.ErrSyncChanged) {
		t.Fatalf("a delta after another host's commits: %v, want ErrSyncChanged", err)
	}
	inbox.records = inbox.records[1:] // expunged and removed
	inbox.modseq++
	if there, err = c.getMailboxes(inbox); err != nil || !there.empty(inbox) {
		t.Fatalf("reported: %v, %v; want an empty mailbox", there, err)
	}
	if _, err := c.updateAll(there, inbox); err != nil {
		t.Fatal(err)
	}
	c.s.Close()
	checkBucket(t, s, "user/anne", inbox)
	h.expectSame("anne", inbox)
}

// The backup server was unreachable while mail was expunged and removed (client-behaviour.md
// f10).
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
		t.Fatalf("GET FULLMAILBOX returned %d records, want 5", n)
	}
	if err := c.s.ApplyExpunge(t.Context(), "user.anne", inbox.uniqueid, []uint32{1, 3}); err != nil {
		t.Fatal(err)
	}
	inbox.records = slices.DeleteFunc(inbox.records, func(r *cyrus.Record) bool { return r.UID == 1 || r.UID == 3 })
	inbox.modseq += 2
	if _, _, err := c.getUser("anne"); err != nil {
		t.Fatal(err)
	}
	// Without SINCE_* and without records it is a delta nevertheless.
	if err := c.s.ApplyMailbox(t.Context(), inbox.head(), cyrus.Since{}, seq(nil)); err != nil {
		t.Fatal(err)
	}
	c.s.Close()
	h.expectSame("anne", inbox)
	checkBucket(t, s, "user/anne", inbox)
}
