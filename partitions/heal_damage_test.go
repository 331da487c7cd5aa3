package partitions_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
)

// A byte of a pack has changed. The server requests the messages that it fails to read, and no
// others: the messages in the same frame one by one, as they are read.
func TestDamagedChunkHeals(t *testing.T) {
	store := withRepository(t)
	h := newHostWith(t, func(o *partitions.Options) { packing(o); o.PackSize = 4 << 20 }, store)
	anne, bob := newMailPair("anne", 100, 0), newMailPair("bob", 200, 0)
	for i := range 4 {
		body := noise(uint64(i+1), 300<<10) // one frame each
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
	// bob has the same mail: his log refers to the place that anne's sync stored.
	sameGUIDs(t, "bob", h.syncUntil("bob", bob.small, bob.large))
	h.healthy(store, "anne", anne.small, anne.large)
	h.healthy(store, "bob", bob.small, bob.large)
	h.removeIndex()
	h.healthy(store, "anne", anne.small, anne.large)
	h.healthy(store, "bob", bob.small, bob.large)
}

// A loss that is found during a user's sync is requested immediately. A new record of the lost
// message is refused until the message has been uploaded.
func TestLossDuringSync(t *testing.T) {
	store := withRepository(t)
	h := newHostWith(t, packing, store)
	anne := newMailPair("anne", 100, 21)
	h.sync("anne", anne.small, anne.large)
	c := h.client()
	there, _, err := c.getUser("anne")
	if err != nil {
		t.Fatal(err)
	}
	store.Flip(packsOf(t, store)[0], 100)
	r := anne.large.records[0]
	if err := c.fetch(anne.large, r); err == nil {
		t.Fatal("a damaged message was read without an error")
	}
	missing, err := c.s.Reserve(t.Context(), "default", []string{anne.large.name}, []cyrus.GUID{r.GUID})
	if err != nil || len(missing) != 1 {
		t.Errorf("RESERVE of a message that is damaged: %v, %v; want it missing", missing, err)
	}
	// A change of the message's flags is not a new reference.
	anne.large.flag(r, `\Seen`)
	if _, err := c.update(t.Context(), anne.large, there, map[cyrus.GUID]bool{}, map[cyrus.GUID]bool{}); err != nil {
		t.Errorf("changing its flags: %v", err)
	}
	copied := newSource("user.anne.Copies")
	copied.deliver(anne.large.bodies[r.GUID])
	if err := c.s.ApplyMailbox(t.Context(), copied.head(), cyrus.Since{}, seq(copied.records)); !errors.Is(err, cyrus.ErrLocked) {
		t.Errorf("a new record of it: %v, want LOCKED", err)
	}
	c.s.Close()
	sent := h.syncUntil("anne", anne.small, anne.large, copied)
	if !slices.Contains(sent, r.GUID) {
		t.Error("the server did not request the message")
	}
	for _, r := range anne.large.records { // the messages in the same frame are found one by one
		c := h.client()
		err := c.fetch(anne.large, r)
		c.s.Close()
		if err != nil {
			h.syncUntil("anne", anne.small, anne.large, copied)
		}
	}
	h.healthy(store, "anne", anne.small, anne.large, copied)
}

// The directory of a pack is damaged: all its messages are lost.
func TestTruncatedPack(t *testing.T) {
	store := withRepository(t)
	h := newHostWith(t, packing, store)
	anne := newMailPair("anne", 100, 21)
	h.sync("anne", anne.small, anne.large)
	store.Truncate(packsOf(t, store)[0], 1000)
	c := h.client()
	if err := c.fetch(anne.large, anne.large.records[7]); err == nil {
		t.Error("a message of a truncated pack was read without an error")
	}
	c.s.Close()
	sameGUIDs(t, "anne", h.syncUntil("anne", anne.small, anne.large), anne.large.records...)
	h.healthy(store, "anne", anne.small, anne.large)
}
