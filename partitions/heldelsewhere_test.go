package partitions_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// collectedWorld has two partitions. The index knows a message of the first one, and collection has
// removed its pack, because the only user with it was erased.
type collectedWorld struct {
	h      *host
	stores []*memstore.Store
	body   []byte // the message
}

// placedUser is a user with an INBOX.
type placedUser struct {
	user string
	box  *source
}

func newCollectedWorld(t *testing.T) *collectedWorld {
	w := &collectedWorld{stores: []*memstore.Store{newStore(), newStore()}, body: mail(1, 5000)}
	w.h = newHostWith(t, func(o *partitions.Options) { o.InlineLimit, o.OutageWait = 1<<10, 50*time.Millisecond }, w.stores[0], w.stores[1])
	return w
}

// collect lets the host know a message of the first partition, whose user is then erased.
func (w *collectedWorld) collect() {
	w.h.t.Helper()
	erased := w.user(0, w.body)
	for _, pack := range packsOf(w.h.t, w.stores[0]) {
		b, err := (&history.Moved{Version: history.Version, Pack: pack, Time: time.Now(), Entries: map[string]string{}}).Append(nil)
		if err != nil {
			w.h.t.Fatal(err)
		}
		key, _ := history.MovedKey(pack)
		replace(w.h.t, w.stores[0], key, b)
		w.stores[0].Lose(pack)
	}
	for _, key := range w.stores[0].Keys(objectsOf(erased.user)) {
		w.stores[0].Lose(key)
	}
}

// objectsOf returns the prefix of the objects of a user's backup.
func objectsOf(user string) string { return "backups/user/" + user + "/" }

// user syncs a new user, whose backup is in a partition, with an INBOX that has one message.
func (w *collectedWorld) user(part int, body []byte) placedUser {
	w.h.t.Helper()
	for n := 0; ; n++ {
		name := fmt.Sprintf("user%d", n)
		p, err := w.h.set.Choose(w.h.t.Context(), repository.UserName(name))
		if errors.Is(err, objstore.ErrExist) || err == nil && p.Config().Name != fmt.Sprintf("p%d", part) {
			continue
		}
		if err != nil {
			w.h.t.Fatal(err)
		}
		u := placedUser{name, newSource("user." + name)}
		u.box.deliver(body)
		w.h.sync(name, u.box)
		return u
	}
}

// RESERVE answers for the backup that it names first. What its partition seems to have may have been
// collected, and a backup of another partition names it: the client is deferred, and then sends it.
func TestReservedElsewhere(t *testing.T) {
	w := newCollectedWorld(t)
	first, second := w.user(0, mail(10, 300)), w.user(1, mail(11, 300))
	w.collect()
	r := second.box.deliver(w.body)
	c := w.h.client()
	missing, err := c.s.Reserve(t.Context(), "default", []string{first.box.name, second.box.name}, []cyrus.GUID{r.GUID})
	if err != nil || len(missing) > 0 {
		t.Fatalf("%d missing, %v: this test no longer covers its case", len(missing), err)
	}
	err = c.s.ApplyMailbox(t.Context(), second.box.head(), cyrus.Since{}, seq(second.box.records))
	if !errors.Is(err, cyrus.ErrLocked) || errors.Is(err, cyrus.ErrBadParameters) {
		t.Errorf("a message that another partition has lost: %v, want LOCKED", err)
	}
	c.s.Restart(t.Context())
	there, err := c.getMailboxes(first.box, second.box)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.updateAll(there, first.box, second.box); err != nil {
		t.Errorf("the next sync: %v", err)
	}
	c.s.Close()
	w.h.expectSame(second.user, second.box)
	checkBucket(t, w.stores[1], "user/"+second.user, second.box)
}

// A backup was moved to another partition, and then erased. The next sync of the user asks the partition
// in which the backup begins again, not the former one.
func TestReserveAfterErasure(t *testing.T) {
	w := newCollectedWorld(t)
	u, other := w.user(1, mail(11, 300)), w.user(0, mail(10, 300))
	for _, key := range w.stores[1].Keys(objectsOf(u.user)) {
		replace(t, w.stores[0], key, w.stores[1].Bytes(key))
		w.stores[1].Lose(key)
	}
	w.h.expectSame(u.user, u.box)
	other.box.deliver(mail(12, 300)) // the host drops what it knows of the partition
	w.h.sync(other.user, other.box)
	w.stores[0].Lose(history.LogKey("user/"+other.user, 2))
	w.h.syncUntil(other.user, other.box)
	for _, key := range w.stores[0].Keys(objectsOf(u.user)) {
		w.stores[0].Lose(key)
	}
	w.collect()
	u.box.deliver(w.body)
	w.h.sync(u.user, u.box)
	w.h.expectSame(u.user, u.box)
	checkBucket(t, w.stores[1], "user/"+u.user, u.box)
}

// The source was set back, and has given a UID to a message that the partition seems to have, but must
// not refer to: its pack is condemned, or lost. The client does not offer the message, because the
// server has the UID. It is deferred once, and then sends the mailbox whole.
func TestReusedUIDOfUnusableMessage(t *testing.T) {
	for _, how := range []string{"condemned", "lost"} {
		t.Run(how, func(t *testing.T) {
			store := withRepository(t)
			now := time.Now()
			h := newHostWith(t, func(o *partitions.Options) {
				o.InlineLimit, o.Now = 1<<10, func() time.Time { return now }
			}, store)
			box, other := newSource("user.anne"), newSource("user.bob")
			box.deliver(mail(1, 500))
			box.deliver(mail(2, 500))
			body := mail(3, 5000)
			other.deliver(body)
			h.sync("anne", box)
			h.sync("bob", other)
			packs := packsOf(t, store)
			now = now.Add(11 * time.Minute) // the host reads the list again, and checks packs
			if how == "condemned" {
				condemnAll(t, &clocked{now: now}, store, packs)
			} else {
				for _, p := range packs {
					store.Lose(p)
				}
				copies := newSource("user.carol")
				copies.deliver(body)
				c := h.client()
				if _, err := c.sync("carol", copies); !errors.Is(err, cyrus.ErrLocked) {
					t.Fatalf("%v: this test no longer covers its case", err)
				}
				c.s.Close()
			}
			box.records, box.lastUID, box.modseq = box.records[:1], 1, box.modseq+1
			box.deliver(body)
			c := h.client()
			_, err := c.sync("anne", box)
			if !errors.Is(err, cyrus.ErrLocked) || errors.Is(err, cyrus.ErrBadParameters) {
				t.Fatalf("a record of a message that the server must not refer to: %v, want LOCKED", err)
			}
			c.s.Restart(t.Context())
			h.sync("anne", box)
			h.expectSame("anne", box)
			checkBucket(t, store, "user/anne", box)
		})
	}
}

// The same for a message whose file the source could not read at first.
func TestReusedUIDOfMissingMessage(t *testing.T) {
	store := newStore()
	h := newHost(t, store)
	box := newSource("user.anne")
	box.deliver(mail(1, 500))
	box.deliver(mail(2, 500))
	bad := box.deliver(mail(3, 500))
	body := box.bodies[bad.GUID]
	delete(box.bodies, bad.GUID)
	h.sync("anne", box)
	box.records, box.lastUID, box.modseq = box.records[:1], 1, box.modseq+1
	box.deliver(body)
	box.deliver(mail(4, 500))
	c := h.client()
	if _, err := c.sync("anne", box); !errors.Is(err, cyrus.ErrLocked) || errors.Is(err, cyrus.ErrBadParameters) {
		t.Fatalf("a record of a message without a body: %v, want LOCKED", err)
	}
	c.s.Restart(t.Context())
	h.sync("anne", box)
	h.expectSame("anne", box)
	checkBucket(t, store, "user/anne", box)
}
