package partitions_test

import (
	"errors"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// several are mailboxes of two users, who got the same message. Eve also gets more than a commit
// takes inline, so that memory is short after the commit of adam.
type several struct {
	t              *testing.T
	store          *memstore.Store
	h              *host
	adam, eve, old *source
	shared         *cyrus.Record
}

func newSeveral(t *testing.T, private bool, more ...func(*partitions.Options)) *several {
	w := &several{t: t, store: newStore(), adam: newSource("user.adam"), eve: newSource("user.eve"), old: newSource("user.adam.Archive")}
	w.h = newHostWith(t, func(o *partitions.Options) {
		o.InlineLimit, o.DedupPerBackup = 4<<10, private
		for _, set := range more {
			set(o)
		}
	}, w.store)
	w.h.sync("adam", w.adam, w.old)
	w.h.sync("eve", w.eve)
	w.shared = w.adam.deliver(mail(1, 1500))
	w.old.deliver(mail(1, 1500))
	for n := range 4 {
		if n == 1 {
			w.eve.deliver(mail(1, 1500))
		}
		w.eve.deliver(mail(10+n, 1500))
	}
	return w
}

// sync sends mailboxes of both users in one unit of work.
func (w *several) sync(boxes ...*source) error {
	c := w.h.client()
	defer c.s.Close()
	there, err := c.getMailboxes(boxes...)
	if err == nil {
		_, err = c.updateAll(there, boxes...)
	}
	return err
}

// copies counts the objects that have the body of a message: in the logs of adam and eve, and in packs.
func (w *several) copies(g cyrus.GUID) (n [3]int) {
	w.t.Helper()
	objects := history.NewObjects(w.store, 0)
	for i, prefix := range []string{"backups/user/adam/log/", "backups/user/eve/log/", "packs/"} {
		for _, key := range w.store.Keys(prefix) {
			dir, err := objects.Directory(w.t.Context(), key)
			if err != nil {
				w.t.Fatal(err)
			}
			for _, e := range dir.Entries {
				if e.Name == g.String()+".eml" {
					n[i]++
				}
			}
		}
	}
	return n
}

func (w *several) check() {
	w.t.Helper()
	w.h.expectSame("adam", w.adam, w.old)
	w.h.expectSame("eve", w.eve)
	checkBucket(w.t, w.store, "user/adam", w.adam, w.old).Close()
	checkBucket(w.t, w.store, "user/eve", w.eve).Close()
}

// The stage drops messages that the first backup has inline when their memory is needed: nothing is stored that no backup
// needs. The second backup copies the shared message from the first one.
func TestMessageThatACommitHasTaken(t *testing.T) {
	for name, private := range map[string]bool{"shared": false, "private": true} {
		t.Run(name, func(t *testing.T) {
			w := newSeveral(t, private)
			own := w.adam.deliver(mail(2, 1500))
			if err := w.sync(w.adam, w.eve, w.old); err != nil {
				t.Fatal(err)
			}
			w.check()
			if n := w.copies(own.GUID); n != [3]int{1, 0, 0} {
				t.Errorf("a message of one user is stored %d times", n)
			}
			if n := w.copies(w.shared.GUID); n[0] != 1 || n[1]+n[2] != 1 {
				t.Errorf("the shared message is stored %d times", n)
			}
		})
	}
}

// The client asks again which messages are missing, after the first backup has taken the message. Then another
// mailbox of that backup names it.
func TestTakenMessageIsAskedForAgain(t *testing.T) {
	w := newSeveral(t, false)
	c := w.h.client()
	all := []*source{w.adam, w.old, w.eve}
	there, err := c.getMailboxes(all...)
	if err != nil {
		t.Fatal(err)
	}
	sent := map[cyrus.GUID]bool{}
	for _, box := range all {
		missing, err := c.reserve(t.Context(), there, all)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.update(t.Context(), box, there, missing, sent); err != nil {
			t.Fatal(err)
		}
	}
	c.s.Close()
	w.check()
	if n := w.copies(w.shared.GUID); n[0] != 1 {
		t.Errorf("the message is stored %d times", n)
	}
}

// The commit with the message disappears before the second user is sent. That user is deferred, and the next
// run of the client sends the message again.
func TestTakenMessageIsLost(t *testing.T) {
	w := newSeveral(t, false)
	c := w.h.client()
	there, err := c.getMailboxes(w.adam, w.eve)
	if err != nil {
		t.Fatal(err)
	}
	missing, err := c.reserve(t.Context(), there, []*source{w.adam, w.eve})
	if err != nil {
		t.Fatal(err)
	}
	sent, before := map[cyrus.GUID]bool{}, w.store.Keys("backups/user/adam/log/")
	if _, err := c.update(t.Context(), w.adam, there, missing, sent); err != nil {
		t.Fatal(err)
	}
	now := w.store.Keys("backups/user/adam/log/")
	if len(now) != len(before)+1 {
		t.Fatalf("%q: this test no longer covers its case", now)
	}
	w.store.Lose(now[len(now)-1])
	if _, err := c.update(t.Context(), w.eve, there, missing, sent); !errors.Is(err, cyrus.ErrLocked) {
		t.Errorf("the second user: %v", err)
	}
	c.s.Close()
	w.h.syncUntil("eve", w.eve)
	w.h.syncUntil("adam", w.adam, w.old)
	w.check()
}

// Each request of the store fails in turn, or loses its answer, while the client sends both users. It then
// completes both backups.
func TestTakenMessageWithFaults(t *testing.T) {
	for _, executed := range []bool{false, true} {
		for n := firstCall(); ; n += stride() {
			w := newSeveral(t, false, shortWait)
			f, reached := fault(n, 2, memstore.ErrInjected)
			if executed {
				w.store.SetFaults(nil, f)
			} else {
				w.store.SetFaults(f, nil)
			}
			err := w.sync(w.adam, w.eve, w.old)
			w.store.SetFaults(nil, nil)
			if err != nil {
				w.h.syncUntil("adam", w.adam, w.old)
				w.h.syncUntil("eve", w.eve)
			}
			w.check()
			w.h.stop()
			if t.Failed() {
				t.Fatalf("at request %d (executed: %v): %v", n, executed, err)
			}
			if !reached() {
				break
			}
		}
	}
}
