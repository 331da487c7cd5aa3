package partitions_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
)

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
		t.Fatalf("%d of 4 messages cannot be read: this test no longer covers its case", len(bad))
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
