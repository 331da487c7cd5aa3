package partitions_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// A client may ask for any number of names. Those of backups that do not exist take no memory once it
// goes on, and nothing in the index.
func TestNamesAreForgotten(t *testing.T) {
	h := newHost(t, newStore())
	h.sync("anne", newSource("user.anne"))
	before := h.keys()
	c := h.client()
	for i := range 50 {
		name := fmt.Sprintf("nobody%d", i)
		if _, _, err := c.getUser(name); err != nil {
			t.Fatal(err)
		}
		if _, err := c.getMailboxes(newSource("user."+name+".x"), newSource("user.anne"), newSource("news")); err != nil {
			t.Fatal(err)
		}
		if err := c.s.GetQuota(t.Context(), "user.other"+name, nowhere); err != nil {
			t.Fatal(err)
		}
		if _, err := c.s.Reserve(t.Context(), "default", []string{"user.more" + name}, []cyrus.GUID{{1}}); err != nil {
			t.Fatal(err)
		}
		c.s.Restart(t.Context())
	}
	if n := h.set.Handles(); n != 1 {
		t.Errorf("%d handles, want that of anne", n)
	}
	if n := h.keys(); n != before {
		t.Errorf("%d keys in the index, want %d as before", n, before)
	}
}

// A client that asks for many names in one unit of work holds a limited number of them, and all backups that exist.
func TestNamesInOneUnitOfWork(t *testing.T) {
	h := newHost(t, newStore())
	anne := newSource("user.anne")
	anne.deliver(mail(1, 300))
	h.sync("anne", anne)
	c := h.client()
	there, _, err := c.getUser("anne")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		if err := c.s.GetQuota(t.Context(), fmt.Sprint("user.nobody", i), nowhere); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.set.Handles(); n < 2 || n > 512<<10/heldSize("nobody0000") {
		t.Errorf("%d handles", n)
	}
	other := h.client()
	if err := other.s.GetQuota(t.Context(), "user.nobody0", nowhere); err != nil {
		t.Errorf("a name that the other connection no longer holds: %v", err)
	}
	other.s.Close()
	anne.deliver(mail(2, 300))
	if _, err := c.updateAll(there, anne); err != nil {
		t.Fatal(err)
	}
	many := []*source{anne}
	for i := range 5000 {
		many = append(many, newSource(fmt.Sprint("user.nobody", i)))
	}
	if there, err = c.getMailboxes(many...); err != nil || len(there) != 1 {
		t.Fatalf("%d mailboxes, %v", len(there), err)
	}
	if n := h.set.Handles(); n < 2 || n > 512<<10/heldSize("nobody0000") {
		t.Errorf("%d handles", n)
	}
	if err := c.s.ApplyMailbox(t.Context(), many[7].head(), cyrus.Since{}, seq(nil)); err != nil {
		t.Error(err)
	}
	c.s.Close()
	if n := h.set.Handles(); n != 2 {
		t.Errorf("%d handles, want those of two backups", n)
	}
	h.expectSame("anne", anne)
}

// A client names many new users, and sends a message once for two of them: it does not count as a client that
// works on one backup, although the session holds only the last one.
func TestMessageForNamesInOneUnitOfWork(t *testing.T) {
	h := newHost(t, newStore())
	var many []*source
	for size := 0; size < 512<<10; size += heldSize("new000") {
		many = append(many, newSource(fmt.Sprintf("user.new%03d", len(many))))
	}
	first, last := many[0], many[len(many)-1]
	many = append(many, newSource(last.name+".Sent"))
	c := h.client()
	if _, err := c.getMailboxes(many...); err != nil {
		t.Fatal(err)
	}
	if n := h.set.Handles(); n != 1 {
		t.Fatalf("%d handles: this test no longer covers its case", n)
	}
	first.deliver(mail(1, 300))
	if err := c.upload(t.Context(), last, last.deliver(mail(1, 300))); err != nil {
		t.Fatal(err)
	}
	for _, box := range []*source{last, first} {
		if err := c.s.ApplyMailbox(t.Context(), box.head(), cyrus.Since{}, seq(box.records)); err != nil {
			t.Error(err)
		}
	}
	c.s.Close()
	h.expectSame("new000", first)
	h.expectSame(strings.TrimPrefix(last.name, "user."), last)
}

// The names that a connection holds are bounded by their bytes, however long they are, and however many backups the
// connection held before. The unit of work goes on meanwhile: nothing counts as a success.
func TestHeldNamesAreBoundedByBytes(t *testing.T) {
	const backups = 500
	h := newHostWith(t, shortWait, newStore())
	var there []*source
	for i := range backups {
		box := newSource(fmt.Sprint("user.there", i))
		h.sync(fmt.Sprint("there", i), box)
		there = append(there, box)
	}
	eve := newSource("user.eve")
	holder := h.client()
	holder.mustSync("eve", eve)
	c := h.as("other [127.0.0.1]")
	if _, err := c.getMailboxes(there...); err != nil {
		t.Fatal(err)
	}
	if err := c.s.GetQuota(t.Context(), "user.nobody", nowhere); err != nil {
		t.Fatal(err)
	}
	c.s.Restart(t.Context())
	if _, _, err := c.getUser("eve"); !errors.Is(err, cyrus.ErrLocked) {
		t.Fatalf("%v, want ErrLocked", err)
	}
	long := strings.Repeat("x", 4000)
	for _, name := range []string{"user.nobody", "user." + long} {
		for i := range 1500 {
			if err := c.s.GetQuota(t.Context(), fmt.Sprint(name, i), nowhere); err != nil {
				t.Fatal(err)
			}
		}
		if n := h.set.Handles() - backups; n > 512<<10/heldSize(name) {
			t.Errorf("%d handles of names with %d bytes", n, len(name))
		}
	}
	st, err := h.set.Status()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range st.Servers {
		if s.Client == "other [127.0.0.1]" && s.Refusals != 1 {
			t.Errorf("%+v", s)
		}
	}
}

// keys counts the keys of the index.
func (h *host) keys() (n int) {
	h.t.Helper()
	if err := h.set.FlushContacts(); err != nil {
		h.t.Fatal(err)
	}
	err := h.index.View(func(t *index.Txn) error {
		for _, err := range t.Range(index.Key{}, nil) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// A client goes on to a user who is in use, and sends a message nevertheless: it does not use the handle that
// was forgotten.
func TestMessageAfterForgottenHandle(t *testing.T) {
	h := newHostWith(t, shortWait, newStore())
	eve := newSource("user.eve")
	holder := h.client()
	holder.mustSync("eve", eve)
	c := h.client()
	if _, _, err := c.getUser("nobody"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.getUser("eve"); !errors.Is(err, cyrus.ErrLocked) {
		t.Fatalf("%v, want ErrLocked", err)
	}
	anne := newSource("user.anne")
	if err := c.upload(t.Context(), anne, anne.deliver(mail(1, 300))); err != nil {
		t.Fatal(err)
	}
	if err := c.s.ApplyMailbox(t.Context(), anne.head(), cyrus.Since{}, seq(anne.records)); err != nil {
		t.Fatal(err)
	}
	c.s.Close()
	h.expectSame("anne", anne)
}

// Whoever has got the handle before it was forgotten cannot work beside another one. A handle in use stays.
func TestForgottenHandle(t *testing.T) {
	h := newHost(t, newStore())
	anne := repository.UserName("anne")
	b := h.set.Use(anne)
	if second := h.set.Use(anne); second != b {
		t.Error("two handles")
	}
	h.set.Leave(b)
	if h.set.Backup(anne) != b {
		t.Error("a handle in use was forgotten")
	}
	h.set.Leave(b)
	if err := b.Begin(t.Context()); !errors.Is(err, cyrus.ErrLocked) {
		t.Errorf("%v, want ErrLocked", err)
	}
	now := h.set.Use(anne)
	if now == b {
		t.Fatal("the handle is still there")
	}
	if err := now.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.set.Leave(now)
	now.End()
	if h.set.Backup(anne) != now {
		t.Error("a handle was forgotten while somebody held its mutex")
	}
}

// Connections ask for a user who does not exist, and another one creates the user: none is
// refused, and the mail is there.
func TestForgetBesideOthers(t *testing.T) {
	h := newHost(t, newStore())
	box := newSource("user.anne")
	box.deliver(mail(1, 300))
	ctx, stop := context.WithCancel(t.Context())
	var askers sync.WaitGroup
	for i := range 3 {
		askers.Go(func() {
			s := session.New(h.set, session.Who{Connection: fmt.Sprint("c", i)})
			defer s.Close()
			for ctx.Err() == nil {
				if err := s.GetUser(t.Context(), "anne", nowhere); err != nil {
					t.Error(err)
				}
				s.Restart(t.Context())
			}
		})
	}
	c := h.client()
	for range 20 {
		box.deliver(mail(int(box.lastUID)+1, 300))
		c.mustSync("anne", box)
		c.s.Restart(t.Context())
	}
	stop()
	askers.Wait()
	h.expectSame("anne", box)
	if n := h.set.Handles(); n != 1 {
		t.Errorf("%d handles, want one", n)
	}
}

// The index entry of a backup is missing, or cannot be read, when a process begins. The backup does not count as a name
// without a backup, and the next sync makes its index again.
func TestHandleOfUnreadableEntry(t *testing.T) {
	h := newHost(t, newStore())
	anne, bob := newSource("user.anne"), newSource("user.bob")
	h.sync("bob", bob)
	for i, spoil := range []func(*index.Txn) error{
		func(t *index.Txn) error { return t.Delete(index.BackupKey("user/anne")) },
		func(t *index.Txn) error { return t.Set(index.BackupKey("user/anne"), []byte("{")) },
	} {
		anne.deliver(mail(2*i, 300))
		h.sync("anne", anne)
		h.stop()
		h.start()
		if err := h.index.Update(spoil); err != nil {
			t.Fatal(err)
		}
		anne.deliver(mail(2*i+1, 300))
		h.sync("anne", anne)
		h.sync("bob", bob)
		h.expectSame("anne", anne)
		if n := h.set.Handles(); n != 2 {
			t.Errorf("%d handles, want those of two backups", n)
		}
	}
}

// A connection loses the leases of many backups, because it was idle. It holds no more names than before then.
func TestHeldNamesAfterLostLeases(t *testing.T) {
	h, clock, _ := contactHost(t)
	long := strings.Repeat("x", 3900)
	var there []*source
	for i := 0; i*heldSize(long) < 600<<10; i++ {
		user := fmt.Sprint(long, i)
		there = append(there, newSource("user."+user))
		h.sync(user, there[i])
	}
	c, other := h.client(), h.client()
	for _, box := range append(there, newSource("user.nobody")) {
		if err := c.s.GetQuota(t.Context(), box.name, nowhere); err != nil {
			t.Fatal(err)
		}
	}
	clock.pass(time.Minute)
	for _, box := range there {
		if err := other.s.GetQuota(t.Context(), box.name, nowhere); err != nil {
			t.Fatal(err)
		}
	}
	for _, box := range there {
		if err := c.s.GetQuota(t.Context(), box.name, nowhere); !errors.Is(err, cyrus.ErrLocked) {
			t.Fatalf("%v, want ErrLocked", err)
		}
	}
	most := 0
	for i := range 1000 {
		if err := c.s.GetQuota(t.Context(), fmt.Sprint("user.nobody", i), nowhere); err != nil {
			t.Fatal(err)
		}
		most = max(most, h.set.Handles()-len(there))
	}
	if most > 512<<10/heldSize("nobody000")+10 {
		t.Errorf("%d names were held", most)
	}
}
