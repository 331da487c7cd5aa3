package partitions_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// person is an account of the name rita. Each person has other uniqueids, and was created later
// than the previous one.
type person struct{ inbox, sent, old *source }

func newPerson(n uint32) *person {
	p := &person{newSource("user.rita"), newSource("user.rita.Sent"), newSource(fmt.Sprintf("user.rita.Old%d", n))}
	for i, b := range []*source{p.inbox, p.sent, p.old} {
		b.uniqueid = fmt.Sprintf("person%d-%d", n, i)
		b.validity = 1700000000 + n*1000 + uint32(i)
		b.deliver(mail(int(n)*10+i, 400))
	}
	return p
}

func (p *person) boxes() []*source { return []*source{p.inbox, p.sent, p.old} }

// account gives a user items that do not belong to a mailbox.
func (c *client) account(user, script string) {
	c.t.Helper()
	err := errors.Join(
		c.s.ApplySub(c.t.Context(), user, "user."+user, true),
		c.s.ApplyQuota(c.t.Context(), quotaOf("user."+user, 1000)),
		c.s.ApplySeen(c.t.Context(), seenOf(user, "of-another", "1:4")),
		c.s.ApplySieve(c.t.Context(), cyrus.Sieve{UserID: user, Filename: "main.script", Content: script}),
		c.s.ApplyActivateSieve(c.t.Context(), user, "main.bc"))
	if err != nil {
		c.t.Fatal(err)
	}
}

// firstLife makes a backup of the first rita. No client has reported the deletion of its
// mailboxes.
func firstLife(t *testing.T) (*host, objstore.Store, *person) {
	s := newStore()
	h := newHost(t, s)
	first := newPerson(1)
	h.sync("rita", first.boxes()...)
	c := h.client()
	c.account("rita", "discard;")
	c.s.Close()
	return h, s, first
}

func livesOf(t *testing.T, m *history.Mem) history.Lives {
	t.Helper()
	ls, err := history.LivesOf(m)
	if err != nil {
		t.Fatal(err)
	}
	return ls
}

// liveItems returns the kinds of the items that are not removed, except the notes of lives.
func liveItems(t *testing.T, m *history.Mem) (kinds []string) {
	t.Helper()
	for _, kind := range history.ItemKinds() {
		for i, err := range m.Items(kind) {
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := i.Event.(*history.AnnotationEvent); i.Deleted.IsZero() && !(ok && history.IsLife(e)) {
				kinds = append(kinds, kind)
			}
		}
	}
	return kinds
}

func liveNames(t *testing.T, m *history.Mem) (names []string) {
	t.Helper()
	for b, err := range m.Mailboxes() {
		if err != nil {
			t.Fatal(err)
		}
		if b.Deleted.IsZero() {
			names = append(names, b.Name)
		}
	}
	return names
}

// No client has reported the deletion of the first rita's account. The second rita gets nothing
// of the first, and the first one's life can be read unchanged.
func TestAnotherPersonOfTheSameName(t *testing.T) {
	h, s, first := firstLife(t)
	second := newPerson(2)
	h.sync("rita", second.inbox, second.sent)
	h.expectSame("rita", second.inbox, second.sent)
	m := checkBucket(t, s, "user/rita", second.inbox, second.sent)
	if names := liveNames(t, m); len(names) != 2 {
		t.Errorf("live mailboxes: %q", names)
	}
	// Subscription and quota were reported to the client, which removes them if they are wrong.
	if kinds := liveItems(t, m); !slices.Equal(kinds, []string{"sub", "quota"}) {
		t.Errorf("live items outside mailboxes: %q", kinds)
	}
	lives := livesOf(t, m)
	last, ok := lives.Last(1)
	if len(lives) != 2 || !ok || last == 0 || lives[1].Inbox != second.inbox.uniqueid {
		t.Fatalf("lives: %+v", lives)
	}
	for b, err := range m.Mailboxes() {
		if want := map[bool]int{true: 2, false: 1}[strings.HasPrefix(b.UniqueID, "person2")]; err != nil || lives.Of(b, "DELETED").Number != want {
			t.Errorf("%s (%s) belongs to life %d, want %d; %v", b.Name, b.UniqueID, lives.Of(b, "DELETED").Number, want, err)
		}
	}
	was, err := history.Load(t.Context(), s, "user/rita", history.Moment{Number: last})
	if err != nil {
		t.Fatal(err)
	}
	if err := sameBoxes(was, first.boxes()); err != nil {
		t.Error(err)
	}
	if kinds := liveItems(t, was); len(kinds) != 5 {
		t.Errorf("the first rita had %q", kinds)
	}
	if _, err := verify.Run(t.Context(), (&repository.Found{Partition: h.opt.Partitions[0], Path: "user/rita"}), verify.Options{Report: func(p verify.Problem) { t.Error(p) }}); err != nil {
		t.Error(err)
	}
	h.removeIndex()
	h.expectSame("rita", second.inbox, second.sent)
	if err := h.indexDiffers("rita", second.inbox, second.sent); err != nil {
		t.Error(err)
	}
}

// A client that sends single mailboxes does not report the others.
func TestAnotherPersonByMailboxes(t *testing.T) {
	h, s, _ := firstLife(t)
	second := newPerson(2)
	c := h.client()
	there, err := c.getMailboxes(second.inbox)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.updateAll(there, second.inbox); err != nil {
		t.Fatal(err)
	}
	c.s.Restart(t.Context())
	m := checkBucket(t, s, "user/rita", second.inbox)
	if names, kinds := liveNames(t, m), liveItems(t, m); len(names) != 1 || len(kinds) != 0 {
		t.Errorf("live mailboxes and items: %q and %q", names, kinds)
	}
	// The client does not send unchanged mailboxes by itself, so the server asks it for a full
	// comparison.
	if _, err := c.getMailboxes(second.sent); !errors.Is(err, cyrus.ErrAskUser) {
		t.Errorf("the next GET MAILBOXES: %v, want ErrAskUser", err)
	}
	c.mustSync("rita", second.boxes()...)
	c.s.Close()
	h.expectSame("rita", second.boxes()...)
}

// The new INBOX is not sent first: mailboxes sent shortly before it belong to the new person.
func TestAnotherPersonInboxLast(t *testing.T) {
	h, s, _ := firstLife(t)
	second := newPerson(2)
	second.inbox.validity = second.old.validity + 7
	h.sync("rita", second.sent, second.old, second.inbox)
	h.expectSame("rita", second.boxes()...)
	m := checkBucket(t, s, "user/rita", second.boxes()...)
	if names := liveNames(t, m); len(names) != 3 {
		t.Errorf("live mailboxes: %q", names)
	}
	if lifeOf(t, m, second.sent.uniqueid) != 2 {
		t.Error("a mailbox sent before the INBOX does not belong to the INBOX's life")
	}
}

// lifeOf returns the number of the life that a mailbox belongs to.
func lifeOf(t *testing.T, m *history.Mem, uniqueid string) int {
	t.Helper()
	mb, err := m.Mailbox(uniqueid)
	if err != nil {
		t.Fatal(err)
	}
	return livesOf(t, m).Of(mb, "DELETED").Number
}

// A server was set up again, with other uniqueids. Its mailboxes arrive one by one, each in its
// own unit of work. At the end all of them are in the backup.
func TestServerWithOtherUniqueIDs(t *testing.T) {
	h, s, _ := firstLife(t)
	again := newPerson(1)
	for i, b := range again.boxes() {
		b.uniqueid = fmt.Sprintf("again-%d", i)
	}
	c := h.client()
	for _, b := range []*source{again.sent, again.inbox, again.old} {
		there, err := c.getMailboxes(b)
		if errors.Is(err, cyrus.ErrAskUser) { // sync_client does the same
			c.mustSync("rita", again.boxes()...)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.updateAll(there, b); err != nil {
			t.Fatal(err)
		}
		c.s.Restart(t.Context())
	}
	c.s.Close()
	h.expectSame("rita", again.boxes()...)
	if names := liveNames(t, checkBucket(t, s, "user/rita", again.boxes()...)); len(names) != 3 {
		t.Errorf("live mailboxes: %q", names)
	}
}

// The source keeps deleted mailboxes for a time, and still compares them under the user: they
// stay in the backup, and belong to the former life.
func TestAnotherPersonAfterDelayedDelete(t *testing.T) {
	h, s, first := firstLife(t)
	c := h.client()
	for _, b := range first.boxes() {
		gone := strings.Replace(b.name, "user.", "DELETED.user.", 1) + fmt.Sprintf(".%X", b.validity+500)
		if err := c.s.ApplyRename(t.Context(), cyrus.Rename{Old: b.name, New: gone, Partition: "default", UIDValidity: b.validity}); err != nil {
			t.Fatal(err)
		}
		b.name = gone
	}
	c.s.Close()
	second := newPerson(2)
	all := append(second.boxes(), first.boxes()...)
	h.sync("rita", all...)
	h.expectSame("rita", all...)
	m := checkBucket(t, s, "user/rita", all...)
	for _, b := range first.boxes() {
		if n := lifeOf(t, m, b.uniqueid); n != 1 {
			t.Errorf("%s belongs to life %d", b.name, n)
		}
	}
	// Later the source removes them permanently, and the second rita deletes a mailbox.
	for _, name := range []string{first.inbox.name, first.sent.name, second.sent.name} {
		if err := c.s.ApplyUnmailbox(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	m = checkBucket(t, s, "user/rita", second.inbox)
	for id, want := range map[string]int{first.inbox.uniqueid: 1, first.sent.uniqueid: 1, second.sent.uniqueid: 2} {
		if n := lifeOf(t, m, id); n != want {
			t.Errorf("%s belongs to life %d, want %d", id, n, want)
		}
	}
}

// The former INBOX takes its name back: the name belongs to the first person again, and nothing
// of the second is live.
func TestFormerPersonReturns(t *testing.T) {
	h, s, first := firstLife(t)
	c := h.client()
	gone := "DELETED.user.rita.654321AB"
	rename := func(old, name string) {
		t.Helper()
		if err := c.s.ApplyRename(t.Context(), cyrus.Rename{Old: old, New: name, Partition: "default"}); err != nil {
			t.Fatal(err)
		}
	}
	rename("user.rita", gone)
	first.inbox.name = gone
	second := newPerson(2)
	c.mustSync("rita", second.inbox, second.old, first.inbox)
	c.s.Restart(t.Context())
	if err := c.s.ApplyUnmailbox(t.Context(), "user.rita"); err != nil {
		t.Fatal(err)
	}
	rename(gone, "user.rita")
	first.inbox.name = "user.rita"
	m := checkBucket(t, s, "user/rita", first.inbox)
	if names := liveNames(t, m); len(names) != 1 {
		t.Errorf("live mailboxes: %q", names)
	}
	if n := livesOf(t, m).Newest().Number; n != 3 {
		t.Errorf("the newest life is %d, want 3", n)
	}
	c.s.Close()
	h.expectSame("rita", first.inbox)
}

// An UNUSER of a user without live data makes no commit, even if lives are recorded.
func TestRepeatedUnuserInLaterLife(t *testing.T) {
	h, s, _ := firstLife(t)
	second := newPerson(2)
	h.sync("rita", second.boxes()...)
	c := h.client()
	for range 2 {
		if err := c.s.ApplyUnuser(t.Context(), "rita"); err != nil {
			t.Fatal(err)
		}
	}
	c.s.Close()
	m := checkBucket(t, s, "user/rita")
	last, ok := livesOf(t, m).Last(2)
	if !ok || last != 0 {
		t.Errorf("the second life ended with commit %d, %v", last, ok)
	}
	n := m.Tip().Number
	c = h.client()
	if err := c.s.ApplyUnuser(t.Context(), "rita"); err != nil {
		t.Fatal(err)
	}
	if now := checkBucket(t, s, "user/rita").Tip().Number; now != n {
		t.Errorf("an UNUSER without live data made commit %d", now)
	}
}

// Only the INBOX got another uniqueid: the client sends changes of another mailbox as a delta
// over the state that the server reported.
func TestMailboxOutlivesInbox(t *testing.T) {
	h, s, first := firstLife(t)
	again := newPerson(1)
	again.inbox.uniqueid = "reconstructed"
	first.sent.deliver(mail(77, 400))
	h.sync("rita", again.inbox, first.sent, first.old)
	h.sync("rita", again.inbox, first.sent, first.old) // the unchanged mailbox ended with the former life, and is sent again
	h.expectSame("rita", again.inbox, first.sent, first.old)
	checkBucket(t, s, "user/rita", again.inbox, first.sent, first.old)
}
