package partitions_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// The bucket is rolled back while the daemon is stopped. The first user to sync has no commit
// since the rollback point, and sends mail that another user had sent.
func TestRollbackFoundByAnotherUser(t *testing.T) {
	store := withRepository(t)
	h := newHostWith(t, packing, store)
	anne, bob := newMailPair("anne", 100, 5), newMailPair("bob", 200, 5)
	h.sync("anne", anne.small, anne.large)
	h.sync("bob", bob.small, bob.large)
	old := store.Snapshot()
	annesNew, bobsNew := newSource("user.anne.New"), newSource("user.bob.New")
	for i := range 25 {
		annesNew.deliver(mail(7000+i, 3000))
		bobsNew.deliver(mail(7000+i, 3000))
	}
	h.sync("anne", anne.small, anne.large, annesNew)
	h.stop()
	store.Rollback(old, "", false)
	h.start()

	c := h.client()
	if _, err := c.sync("bob", bob.small, bob.large, bobsNew); !errors.Is(err, cyrus.ErrLocked) {
		t.Errorf("the first sync after the rollback: %v, want LOCKED", err)
	}
	c.s.Close()
	h.syncUntil("bob", bob.small, bob.large, bobsNew)
	h.syncUntil("anne", anne.small, anne.large, annesNew)
	h.healthy(store, "bob", bob.small, bob.large, bobsNew)
	h.healthy(store, "anne", anne.small, anne.large, annesNew)
	h.removeIndex()
	h.healthy(store, "bob", bob.small, bob.large, bobsNew)
	h.healthy(store, "anne", anne.small, anne.large, annesNew)
}

// losses are the circumstances of a loss.
var losses = map[string]func(t *testing.T, h *host, lose func()){
	"while the daemon runs":       func(_ *testing.T, h *host, lose func()) { lose() },
	"while the daemon is stopped": func(_ *testing.T, h *host, lose func()) { h.stop(); lose(); h.start() },
	"with the index": func(_ *testing.T, h *host, lose func()) {
		lose()
		h.removeIndex()
	},
}

// A pack is lost. One user copies a message of that pack to another mailbox, and another user
// sends the same mail. Neither gets the lost place, and both backups are complete again in the
// end.
func TestLostPackHeals(t *testing.T) {
	for name, happen := range losses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := withRepository(t)
			var ahead time.Duration
			h := newHostWith(t, func(o *partitions.Options) {
				packing(o)
				o.Now = func() time.Time { return time.Now().Add(ahead) }
			}, store)
			anne, bob := newMailPair("anne", 100, 20), newMailPair("bob", 200, 20)
			h.sync("anne", anne.small, anne.large)
			pack := packsOf(t, store)
			h.sync("bob", bob.small, bob.large)
			happen(t, h, func() { ahead += time.Hour; store.Lose(pack[0]) })

			copies := newSource("user.anne.Copies")
			copies.deliver(anne.large.bodies[anne.large.records[3].GUID])
			for i := range 12 { // too many for a commit to store inline
				bob.large.deliver(mail(100+i, 3000))
			}
			h.syncUntil("anne", anne.small, anne.large, copies)
			h.syncUntil("bob", bob.small, bob.large)
			h.healthy(store, "anne", anne.small, anne.large, copies)
			h.healthy(store, "bob", bob.small, bob.large)
			h.removeIndex()
			h.healthy(store, "anne", anne.small, anne.large, copies)
			h.healthy(store, "bob", bob.small, bob.large)
		})
	}
}

// The server requests only lost messages, and nothing of other users.
func TestOnlyLostMessagesAreUploaded(t *testing.T) {
	store := withRepository(t)
	var ahead time.Duration
	h := newHostWith(t, func(o *partitions.Options) {
		packing(o)
		o.Now = func() time.Time { return time.Now().Add(ahead) }
	}, store)
	anne, bob := newMailPair("anne", 100, 21), newMailPair("bob", 200, 21) // 21 messages are too many to store inline
	h.sync("anne", anne.small, anne.large)
	first := packsOf(t, store)
	for i := range 21 {
		anne.large.deliver(mail(500+i, 3000))
	}
	h.sync("anne", anne.small, anne.large)
	h.sync("bob", bob.small, bob.large)
	ahead = time.Hour
	store.Lose(first[0])

	// A move to another mailbox detects the loss.
	moved := newSource("user.anne.Trash")
	moved.deliver(anne.large.bodies[anne.large.records[0].GUID])
	c := h.client()
	if _, err := c.sync("anne", anne.small, anne.large, moved); !errors.Is(err, cyrus.ErrLocked) {
		t.Errorf("a copy of a lost message: %v, want LOCKED", err)
	}
	c.s.Close()
	sameGUIDs(t, "anne", h.syncUntil("anne", anne.small, anne.large, moved), anne.large.records[:21]...)
	sameGUIDs(t, "bob", h.syncUntil("bob", bob.small, bob.large))
	h.healthy(store, "anne", anne.small, anne.large, moved)
	h.healthy(store, "bob", bob.small, bob.large)
	if n := mailboxResyncs(t, store, "user/bob"); n != 0 {
		t.Errorf("bob's log has %d resync events, want none", n)
	}
}

// If another partition has a copy, the server does not request the message from the source.
func TestLostIsCopiedFromOtherPartition(t *testing.T) {
	stores := []*memstore.Store{withRepository(t), withRepository(t)}
	var ahead time.Duration
	h := newHostWith(t, func(o *partitions.Options) {
		packing(o)
		o.Now = func() time.Time { return time.Now().Add(ahead) }
	}, stores[0], stores[1])
	users := usersOf(t, h, stores)
	one, two := newMailPair(users[0], 100, 20), newMailPair(users[1], 100, 20)
	h.sync(users[0], one.small, one.large)
	h.sync(users[1], two.small, two.large)
	ahead = time.Hour
	for _, k := range packsOf(t, stores[0]) {
		stores[0].Lose(k)
	}
	moved := newSource("user." + users[0] + ".Trash")
	moved.deliver(one.large.bodies[one.large.records[0].GUID])
	sameGUIDs(t, "after the loss", h.syncUntil(users[0], one.small, one.large, moved))
	h.healthy(stores[0], users[0], one.small, one.large, moved)
	if n := mailboxResyncs(t, stores[0], "user/"+users[0]); n != 0 {
		t.Errorf("%d resync events, want none", n)
	}
}

// If the other partition has a copy but does not answer, the server requests the message from
// the source without delay.
func TestLostWhileOtherPartitionUnavailable(t *testing.T) {
	stores := []*memstore.Store{withRepository(t), withRepository(t)}
	var ahead time.Duration
	h := hostWithClock(t, &ahead, stores...)
	users := usersOf(t, h, stores)
	one, two := newMailPair(users[0], 100, 21), newMailPair(users[1], 100, 21)
	h.sync(users[0], one.small, one.large)
	h.sync(users[1], two.small, two.large)
	ahead = time.Hour
	for _, k := range packsOf(t, stores[0]) {
		stores[0].Lose(k)
	}
	c := h.client()
	if err := c.fetch(one.large, one.large.records[0]); err == nil {
		t.Error("a lost message was read without an error")
	}
	c.s.Close()
	refused := 0
	stores[1].SetFaults(func(op, key string) error {
		if op == "get" && strings.HasPrefix(key, "packs/") {
			refused++
			return memstore.ErrInjected
		}
		return nil
	}, nil)
	sameGUIDs(t, "after the loss", h.syncUntil(users[0], one.small, one.large), one.large.records...)
	if refused == 0 || refused > 3 {
		t.Errorf("the other partition was asked %d times, want once", refused)
	}
	h.healthy(stores[0], users[0], one.small, one.large)
}

// If the object returns before the loss is recorded, nothing counts as lost.
func TestObjectReturns(t *testing.T) {
	store := withRepository(t)
	var ahead time.Duration
	h := newHostWith(t, func(o *partitions.Options) {
		packing(o)
		o.Now = func() time.Time { return time.Now().Add(ahead) }
	}, store)
	anne := newMailPair("anne", 100, 20)
	h.sync("anne", anne.small, anne.large)
	before := store.Snapshot()
	ahead = time.Hour
	store.Lose(packsOf(t, store)[0])
	c := h.client()
	if err := c.fetch(anne.large, anne.large.records[0]); err == nil {
		t.Error("a message of the lost pack was read without an error")
	}
	c.s.Close()
	store.Rollback(before, "packs/", true)
	sameGUIDs(t, "after its return", h.syncUntil("anne", anne.small, anne.large))
	h.healthy(store, "anne", anne.small, anne.large)
	if n := mailboxResyncs(t, store, "user/anne"); n != 0 {
		t.Errorf("%d resync events, want none", n)
	}
}

// After one lost pack, every backup of the partition is read from the bucket when it is next
// opened, and checks all packs it refers to, since other backups may have lost packs, too.
func TestInvalidatedPartition(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		under := withRepository(t)
		store, count := counted(under)
		var ahead time.Duration
		h := newHostWith(t, func(o *partitions.Options) {
			packing(o)
			o.Now = func() time.Time { return time.Now().Add(ahead) }
		}, store)
		anne, bob, cora := newMailPair("anne", 100, 3), newMailPair("bob", 200, 3), newMailPair("cora", 300, 3)
		for user, b := range map[string]*mailPair{"anne": anne, "bob": bob, "cora": cora} {
			h.sync(user, b.small, b.large)
		}
		ahead = time.Hour
		for _, m := range []*source{anne.large, bob.large} {
			under.Lose(placeOf(t, under, m, m.records[0]).Object)
		}
		c := h.client()
		if err := c.fetch(anne.large, anne.large.records[0]); err == nil {
			t.Error("a lost message was read without an error")
		}
		c.s.Close()
		if restarted {
			h.stop()
			h.start()
		}
		sameGUIDs(t, "bob", h.syncUntil("bob", bob.small, bob.large), bob.large.records...)
		sameGUIDs(t, "anne", h.syncUntil("anne", anne.small, anne.large), anne.large.records...)
		count.Reset()
		sameGUIDs(t, "cora", h.syncUntil("cora", cora.small, cora.large))
		if count.Snapshot()["list"].Requests == 0 {
			t.Error("cora's index was not checked against the bucket")
		}
		h.healthy(under, "anne", anne.small, anne.large)
		h.healthy(under, "bob", bob.small, bob.large)
		count.Reset()
		h.expectSame("cora", cora.small, cora.large)
		if ops := count.Snapshot(); ops["stat"].Requests != 2 || ops["list"].Requests+ops["get"].Requests+ops["put"].Requests != 0 {
			t.Errorf("afterwards: %+v, want two HEADs", ops)
		}
	}
}

// A lost message that is only in the history keeps its place: no client would send it again.
func TestLostHistoryKeepsItsPlace(t *testing.T) {
	store := withRepository(t)
	var ahead time.Duration
	h := hostWithClock(t, &ahead, store)
	anne := newMailPair("anne", 100, 21)
	h.sync("anne", anne.small, anne.large)
	gone := anne.large.records[0]
	anne.large.flag(gone, `\Expunged`)
	h.sync("anne", anne.small, anne.large)
	anne.large.records = anne.large.live() // the source has cleaned up
	before := store.Snapshot()
	pack := packsOf(t, store)[0]
	ahead = time.Hour
	store.Lose(pack)
	c := h.client()
	if err := c.fetch(anne.large, anne.large.records[1]); err == nil {
		t.Error("a lost message was read without an error")
	}
	c.s.Close()
	sameGUIDs(t, "anne", h.syncUntil("anne", anne.small, anne.large), anne.large.records...)
	store.Rollback(before, pack, true) // the administrator restores the pack
	m := load(t, store, "user/anne")
	defer m.Close()
	checkBody(t, m, history.NewObjects(store, 0), gone.GUID, anne.large.bodies[gone.GUID])
}
