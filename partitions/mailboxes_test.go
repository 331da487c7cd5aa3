package partitions_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

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

// A user is renamed: the mailbox moves to the backup of the new name with its mail, and its
// history stays in the backup of the old name.
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

// The mail of the new name is sent without a RENAME: the mailbox is removed from the old backup.
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
	// The account is created again under the same name.
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

// A mailbox moves to another backup with a message that the source cannot read. The message is
// known as missing there, too, so that its flags can still change.
func TestRenameWithMissingBody(t *testing.T) {
	s := newStore()
	h := newHost(t, s)
	box := newSource("user.anne.Box")
	bad := box.deliver(mail(1, 500))
	box.deliver(mail(2, 500))
	delete(box.bodies, bad.GUID)
	h.sync("anne", box)
	c := h.client()
	if err := c.s.ApplyRename(t.Context(), cyrus.Rename{Old: box.name, New: "user.bert.Box"}); err != nil {
		t.Fatal(err)
	}
	c.s.Close()
	box.name = "user.bert.Box"
	box.flag(bad, `\Seen`)
	h.sync("bert", box)
	h.expectSame("bert", box)
	m := checkBucket(t, s, "user/bert", box)
	if msg, err := m.Message(bad.GUID); err != nil || msg == nil || !msg.Missing {
		t.Errorf("the message in the new backup: %+v, %v; want it known as missing", msg, err)
	}
}

// asking is a store that calls a function before each Get.
type asking struct {
	objstore.Store
	get func(key string)
}

func (s asking) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	s.get(key)
	return s.Store.Get(ctx, key, off, n)
}

// A mailbox moves to another backup while the index of its old backup is rebuilt, and therefore
// incomplete: the whole mailbox moves nevertheless.
func TestRenameAcrossUsersWhileReindexing(t *testing.T) {
	mem := newStore()
	var h *host
	var begin, read sync.Once
	begun, reindexed := make(chan struct{}), make(chan error, 1)
	armed := false
	h = newHost(t, asking{mem, func(key string) {
		switch {
		case !armed:
		case key == "backups/user/berti/backup.json": // after the old backup was read
			begin.Do(func() {
				go func() { reindexed <- h.set.ReindexPath(context.Background(), "user/bert") }()
				<-begun
			})
		case key == history.LogKey("user/bert", 1):
			read.Do(func() {
				close(begun)
				time.Sleep(100 * time.Millisecond)
			})
		}
	}})
	box := newSource("user.bert")
	for i := range 5 {
		box.deliver(mail(i, 500))
	}
	c := h.client()
	c.mustSync("bert", box)
	armed = true
	r := cyrus.Rename{Old: "user.bert", New: "user.berti", Partition: "default", UIDValidity: box.validity}
	if err := errors.Join(c.s.ApplyRename(t.Context(), r), <-reindexed); err != nil {
		t.Fatal(err)
	}
	c.s.Close()
	box.name = "user.berti"
	checkBucket(t, mem, "user/berti", box)
	h.expectSame("berti", box)
}

// A mailbox in resync is still reported as empty after it has moved to another backup.
func TestRenameInResync(t *testing.T) {
	s := newStore()
	h := newHost(t, s)
	box := newSource("user.anne.Box")
	box.deliver(mail(1, 500))
	box.wrongCRC = 1
	h.sync("anne", box)
	box.wrongCRC = 0
	c := h.client()
	if err := c.s.ApplyRename(t.Context(), cyrus.Rename{Old: box.name, New: "user.bert.Box"}); err != nil {
		t.Fatal(err)
	}
	c.s.Close()
	c = h.client()
	if st, _, err := c.getUser("bert"); err != nil || !st.empty(box) {
		t.Fatalf("a mailbox in resync is reported as %v, %v; want it empty", st, err)
	}
	c.s.Close()
	box.name = "user.bert.Box"
	h.sync("bert", box)
	h.expectSame("bert", box)
	checkBucket(t, s, "user/bert", box)
}
