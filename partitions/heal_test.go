package partitions_test

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"backupd/objstore/memstore"
	"backupd/partitions"
	"backupd/partitions/history"
	"backupd/replication/cyrus"
)

// packing makes little mail go into packs.
func packing(o *partitions.Options) {
	o.InlineLimit, o.PackSize, o.NoCheckpoints = 8<<10, 512<<10, true
}

// brought are mailboxes of a user of whom a small one never loses anything: sync_client asks
// RESERVE only when some mailbox is reported.
type brought struct{ small, large *source }

func bring(user string, seed, n int) *brought {
	b := &brought{newSource("user." + user), newSource("user." + user + ".Large")}
	b.small.deliver(mail(seed+900, 300))
	for i := range n {
		b.large.deliver(mail(seed+i, 3000))
	}
	return b
}

// syncUntil syncs until nothing is deferred any more, and returns the GUIDs that were
// uploaded, in all.
func (h *host) syncUntil(user string, boxes ...*source) []cyrus.GUID {
	h.t.Helper()
	for range 10 {
		c := h.client()
		sent, err := c.uploads(user, boxes...)
		c.s.Close()
		if err == nil {
			return sent
		}
		deferredOnly(h.t, err)
	}
	h.t.Fatalf("%s is deferred for ever", user)
	return nil
}

// uploads is sync, and returns what RESERVE and the complete sets of it asked for.
func (c *client) uploads(user string, boxes ...*source) (sent []cyrus.GUID, err error) {
	there, _, err := c.getUser(user)
	if err != nil {
		return nil, err
	}
	ctx := c.t.Context()
	missing, err := c.reserve(ctx, there, boxes)
	if err != nil {
		return nil, err
	}
	done := map[cyrus.GUID]bool{}
	for _, m := range boxes {
		if _, err := c.update(ctx, m, there, missing, done); err != nil {
			return nil, err
		}
	}
	return slices.Collect(maps.Keys(done)), nil
}

// healthy sees that the bucket alone gives all of a user's mail, and that the index agrees.
func (h *host) healthy(store *memstore.Store, user string, boxes ...*source) {
	h.t.Helper()
	for _, box := range boxes {
		if err := box.differs(load(h.t, store, "user/"+user)); err != nil {
			h.t.Error(err)
		}
	}
	checkBucket(h.t, store, "user/"+user, boxes...)
	h.expectSame(user, boxes...)
	f, err := partitions.Find(h.t.Context(), h.opt.Partitions, partitions.UserName(user))
	if err != nil {
		h.t.Fatal(err)
	}
	done, err := f.Verify(h.t.Context(), partitions.Verification{Report: func(p partitions.Problem) { h.t.Errorf("verify: %s", p) }})
	if err != nil || done.Damaged+done.Missing > 0 {
		h.t.Errorf("verify of %s: %+v, %v", user, done, err)
	}
}

func sameGUIDs(t *testing.T, what string, got []cyrus.GUID, want ...*cyrus.Record) {
	t.Helper()
	g, w := map[cyrus.GUID]bool{}, map[cyrus.GUID]bool{}
	for _, x := range got {
		g[x] = true
	}
	for _, r := range want {
		w[r.GUID] = true
	}
	if !maps.Equal(g, w) || len(got) != len(g) {
		t.Errorf("%s: %d messages were uploaded, want %d: %v", what, len(got), len(w), got)
	}
}

// The bucket is set back to an older copy while the daemon is stopped. The first user to
// come has had no commit since, and brings mail that another user had brought.
func TestRollbackMetByAnotherUser(t *testing.T) {
	store := withRepository(t)
	h := newHostWith(t, packing, store)
	anne, bob := bring("anne", 100, 5), bring("bob", 200, 5)
	h.sync("anne", anne.small, anne.large)
	h.sync("bob", bob.small, bob.large)
	old := store.Snapshot()
	annes, bobs := newSource("user.anne.New"), newSource("user.bob.New")
	for i := range 25 {
		annes.deliver(mail(7000+i, 3000))
		bobs.deliver(mail(7000+i, 3000))
	}
	h.sync("anne", anne.small, anne.large, annes)
	h.stop()
	store.Rollback(old, "", false)
	h.start()

	c := h.client()
	if _, err := c.sync("bob", bob.small, bob.large, bobs); !errors.Is(err, cyrus.ErrLocked) {
		t.Errorf("the first sync after it: %v, want LOCKED", err)
	}
	c.s.Close()
	h.syncUntil("bob", bob.small, bob.large, bobs)
	h.syncUntil("anne", anne.small, anne.large, annes)
	h.healthy(store, "bob", bob.small, bob.large, bobs)
	h.healthy(store, "anne", anne.small, anne.large, annes)
	h.removeIndex()
	h.healthy(store, "bob", bob.small, bob.large, bobs)
	h.healthy(store, "anne", anne.small, anne.large, annes)
}

// How a loss can come about.
var losses = map[string]func(t *testing.T, h *host, lose func()){
	"while the daemon runs": func(_ *testing.T, h *host, lose func()) { lose() },
	"while it is stopped":   func(_ *testing.T, h *host, lose func()) { h.stop(); lose(); h.start() },
	"with the index": func(_ *testing.T, h *host, lose func()) {
		lose()
		h.removeIndex()
	},
}

// A pack is lost. Somebody copies a message of it into another folder; another user brings
// the same mail. Neither gets the dead place, and all come to have their mail again.
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
			anne, bob := bring("anne", 100, 20), bring("bob", 200, 20)
			h.sync("anne", anne.small, anne.large)
			pack := packsOf(t, store)
			h.sync("bob", bob.small, bob.large)
			happen(t, h, func() { ahead += time.Hour; store.Lose(pack[0]) })

			copies := newSource("user.anne.Copies")
			copies.deliver(anne.large.bodies[anne.large.records[3].GUID])
			for i := range 12 { // more than a commit takes inline
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

// Exactly what is lost is asked for again, and nothing of other users.
func TestOnlyTheLostIsUploaded(t *testing.T) {
	store := withRepository(t)
	var ahead time.Duration
	h := newHostWith(t, func(o *partitions.Options) {
		packing(o)
		o.Now = func() time.Time { return time.Now().Add(ahead) }
	}, store)
	anne, bob := bring("anne", 100, 21), bring("bob", 200, 21) // of 21 none is inline
	h.sync("anne", anne.small, anne.large)
	first := packsOf(t, store)
	for i := range 21 {
		anne.large.deliver(mail(500+i, 3000))
	}
	h.sync("anne", anne.small, anne.large)
	h.sync("bob", bob.small, bob.large)
	ahead = time.Hour
	store.Lose(first[0])

	// A move to another folder meets it.
	moved := newSource("user.anne.Trash")
	moved.deliver(anne.large.bodies[anne.large.records[0].GUID])
	c := h.client()
	if _, err := c.sync("anne", anne.small, anne.large, moved); !errors.Is(err, cyrus.ErrLocked) {
		t.Errorf("a copy of what is lost: %v, want LOCKED", err)
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

// mailboxResyncs counts the resync events of a log.
func mailboxResyncs(t *testing.T, store *memstore.Store, path string) (n int) {
	t.Helper()
	log := history.Log{Store: store, Backup: path}
	newest, err := log.Newest(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for c, err := range log.Commits(t.Context(), 1, newest) {
		if err != nil {
			t.Fatal(err)
		}
		for e, err := range c.Events() {
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := e.(*history.ResyncEvent); ok && e.Reason != "" {
				n++
			}
		}
	}
	return n
}

// fetch reads a message as GET FETCH does.
func (c *client) fetch(box *source, r *cyrus.Record) error {
	_, body, err := c.s.GetFetch(c.t.Context(), cyrus.Fetch{Name: box.name, UniqueID: box.uniqueid, UID: r.UID, GUID: r.GUID})
	if err != nil {
		return err
	}
	var got bytes.Buffer
	_, err = got.ReadFrom(body)
	if err := errors.Join(err, body.Close()); err != nil {
		return err
	}
	if !bytes.Equal(got.Bytes(), box.bodies[r.GUID]) {
		c.t.Errorf("uid %d: other bytes", r.UID)
	}
	return nil
}

// A byte of a pack is another one. What meets it is asked for again, and no more: the
// messages in one frame with it, one by one as they are read.
func TestDamagedChunkHeals(t *testing.T) {
	store := withRepository(t)
	h := newHostWith(t, func(o *partitions.Options) { packing(o); o.PackSize = 4 << 20 }, store)
	anne, bob := bring("anne", 100, 0), bring("bob", 200, 0)
	for i := range 4 {
		body := noise(uint64(i+1), 300<<10) // frames of their own
		anne.large.deliver(body)
		bob.large.deliver(body)
	}
	h.sync("anne", anne.small, anne.large)
	h.sync("bob", bob.small, bob.large)
	store.Flip(packsOf(t, store)[0], 450<<10)

	c := h.client()
	var bad []*cyrus.Record
	for _, r := range anne.large.records {
		if err := c.fetch(anne.large, r); err != nil {
			bad = append(bad, r)
		}
	}
	c.s.Close()
	if len(bad) == 0 || len(bad) == 4 {
		t.Fatalf("%d of 4 messages cannot be read: this test no longer shows what it should", len(bad))
	}
	sameGUIDs(t, "anne", h.syncUntil("anne", anne.small, anne.large), bad...)
	// bob has the same mail: his log names the place that anne's sync has brought.
	sameGUIDs(t, "bob", h.syncUntil("bob", bob.small, bob.large))
	h.healthy(store, "anne", anne.small, anne.large)
	h.healthy(store, "bob", bob.small, bob.large)
	h.removeIndex()
	h.healthy(store, "anne", anne.small, anne.large)
	h.healthy(store, "bob", bob.small, bob.large)
}

// Another partition has a copy: the source is asked for nothing.
func TestLostIsTakenFromAnotherPartition(t *testing.T) {
	stores := []*memstore.Store{withRepository(t), withRepository(t)}
	var ahead time.Duration
	h := newHostWith(t, func(o *partitions.Options) {
		packing(o)
		o.Now = func() time.Time { return time.Now().Add(ahead) }
	}, stores[0], stores[1])
	users := usersOf(t, h, stores)
	one, two := bring(users[0], 100, 20), bring(users[1], 100, 20)
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

// usersOf are two users, of whom each lives in another partition.
func usersOf(t *testing.T, h *host, stores []*memstore.Store) (users [2]string) {
	t.Helper()
	for i := range 100 {
		user := "u" + strings.Repeat("x", i)
		h.sync(user, newSource("user."+user))
		for n, s := range stores {
			if hasBackup(t, s, "user/"+user) {
				users[n] = user
			}
		}
		if users[0] != "" && users[1] != "" {
			return users
		}
	}
	t.Fatal("all users are in one partition")
	return users
}

// The object comes back before the loss is written down: nothing is lost.
func TestObjectThatComesBack(t *testing.T) {
	store := withRepository(t)
	var ahead time.Duration
	h := newHostWith(t, func(o *partitions.Options) {
		packing(o)
		o.Now = func() time.Time { return time.Now().Add(ahead) }
	}, store)
	anne := bring("anne", 100, 20)
	h.sync("anne", anne.small, anne.large)
	before := store.Snapshot()
	ahead = time.Hour
	store.Lose(packsOf(t, store)[0])
	c := h.client()
	if err := c.fetch(anne.large, anne.large.records[0]); err == nil {
		t.Error("a message of the lost pack can be read")
	}
	c.s.Close()
	store.Rollback(before, "packs/", true)
	sameGUIDs(t, "after it came back", h.syncUntil("anne", anne.small, anne.large))
	h.healthy(store, "anne", anne.small, anne.large)
	if n := mailboxResyncs(t, store, "user/anne"); n != 0 {
		t.Errorf("%d resync events, want none", n)
	}
}

// A loss that is met while a user's client is at work is asked for at once; a record of it
// that comes without being asked for is not believed.
func TestLossInTheMiddleOfASync(t *testing.T) {
	store := withRepository(t)
	h := newHostWith(t, packing, store)
	anne := bring("anne", 100, 21)
	h.sync("anne", anne.small, anne.large)
	c := h.client()
	there, _, err := c.getUser("anne")
	if err != nil {
		t.Fatal(err)
	}
	store.Flip(packsOf(t, store)[0], 100)
	r := anne.large.records[0]
	if err := c.fetch(anne.large, r); err == nil {
		t.Fatal("a damaged message can be read")
	}
	missing, err := c.s.Reserve(t.Context(), "default", []string{anne.large.name}, []cyrus.GUID{r.GUID})
	if err != nil || len(missing) != 1 {
		t.Errorf("RESERVE of a message that is damaged: %v, %v; want it missing", missing, err)
	}
	// A change of its flags is no new reference.
	anne.large.flag(r, `\Seen`)
	if _, err := c.update(t.Context(), anne.large, there, map[cyrus.GUID]bool{}, map[cyrus.GUID]bool{}); err != nil {
		t.Errorf("flags of it: %v", err)
	}
	copied := newSource("user.anne.Copies")
	copied.deliver(anne.large.bodies[r.GUID])
	if err := c.s.ApplyMailbox(t.Context(), copied.head(), cyrus.Since{}, seq(copied.records)); !errors.Is(err, cyrus.ErrLocked) {
		t.Errorf("a record of it: %v, want LOCKED", err)
	}
	c.s.Close()
	sent := h.syncUntil("anne", anne.small, anne.large, copied)
	if !slices.Contains(sent, r.GUID) {
		t.Error("it was not asked for")
	}
	for _, r := range anne.large.records { // those in one frame with it turn up one by one
		c := h.client()
		err := c.fetch(anne.large, r)
		c.s.Close()
		if err != nil {
			h.syncUntil("anne", anne.small, anne.large, copied)
		}
	}
	h.healthy(store, "anne", anne.small, anne.large, copied)
}

// One lost pack is met. From then on every backup of the partition is read from the bucket
// and proves what it refers to, when it is next opened: others have lost packs, too.
func TestDistrustedPartition(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		under := withRepository(t)
		store, count := counted(under)
		var ahead time.Duration
		h := newHostWith(t, func(o *partitions.Options) {
			packing(o)
			o.Now = func() time.Time { return time.Now().Add(ahead) }
		}, store)
		anne, bob, cora := bring("anne", 100, 3), bring("bob", 200, 3), bring("cora", 300, 3)
		for user, b := range map[string]*brought{"anne": anne, "bob": bob, "cora": cora} {
			h.sync(user, b.small, b.large)
		}
		ahead = time.Hour
		for _, m := range []*source{anne.large, bob.large} {
			under.Lose(placeOf(t, under, m, m.records[0]).Object)
		}
		c := h.client()
		if err := c.fetch(anne.large, anne.large.records[0]); err == nil {
			t.Error("a lost message can be read")
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
			t.Error("cora's index was believed")
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

// placeOf is where the log says that a message of one chunk lies.
func placeOf(t *testing.T, store *memstore.Store, box *source, r *cyrus.Record) history.Place {
	t.Helper()
	m := load(t, store, "user/"+strings.Split(box.name, ".")[1])
	defer m.Close()
	msg, err := m.Message(r.GUID)
	if err != nil || msg == nil || len(msg.Chunks) != 1 {
		t.Fatalf("message %s: %+v, %v", r.GUID, msg, err)
	}
	places, err := m.Places(msg.Chunks[0])
	if err != nil || len(places) == 0 {
		t.Fatalf("message %s: %v, %v", r.GUID, places, err)
	}
	return places[0]
}

// The directory of a pack is damaged: all that lies in it is lost at once.
func TestTruncatedPack(t *testing.T) {
	store := withRepository(t)
	h := newHostWith(t, packing, store)
	anne := bring("anne", 100, 21)
	h.sync("anne", anne.small, anne.large)
	store.Truncate(packsOf(t, store)[0], 1000)
	c := h.client()
	if err := c.fetch(anne.large, anne.large.records[7]); err == nil {
		t.Error("a message of a truncated pack can be read")
	}
	c.s.Close()
	sameGUIDs(t, "anne", h.syncUntil("anne", anne.small, anne.large), anne.large.records...)
	h.healthy(store, "anne", anne.small, anne.large)
}

// What only the history has is not given up: nobody would send it again.
func TestHistoryIsNotGivenUp(t *testing.T) {
	store := withRepository(t)
	var ahead time.Duration
	h := later(t, &ahead, store)
	anne := bring("anne", 100, 21)
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
		t.Error("a lost message can be read")
	}
	c.s.Close()
	sameGUIDs(t, "anne", h.syncUntil("anne", anne.small, anne.large), anne.large.records...)
	store.Rollback(before, pack, true) // the administrator finds it
	m := load(t, store, "user/anne")
	defer m.Close()
	checkBody(t, m, history.NewObjects(store, 0), gone.GUID, anne.large.bodies[gone.GUID])
}
