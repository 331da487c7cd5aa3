package partitions_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions"
)

// reads counts the reads of an index by the first byte of the key (package index).
type reads struct {
	mu sync.Mutex // checkpoints read in the background
	n  map[byte]int
}

func countReads(h *host) *reads {
	c := &reads{n: map[byte]int{}}
	count := func(k index.Key) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.n[k[0]]++
	}
	h.onRead.Store(&count) // packs are put in the background
	return c
}

func (c *reads) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.n)
}

func (c *reads) of(kinds string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range []byte(kinds) {
		n += c.n[k]
	}
	return n
}

// commitHook calls fn before each put of a commit.
type commitHook struct {
	objstore.Store
	fn func()
}

func (s *commitHook) Put(ctx context.Context, key string, b objstore.Body, o objstore.PutOptions) (objstore.Info, error) {
	if strings.Contains(key, "/log/") && s.fn != nil {
		s.fn()
	}
	return s.Store.Put(ctx, key, b, o)
}

// manyMessages configures a host that keeps no mail in memory and writes no checkpoints.
func manyMessages(o *partitions.Options) {
	o.InlineLimit, o.PackSize, o.NoCheckpoints = 1, 256<<10, true
}

// upload sends the messages of a new mailbox.
func uploadAll(t *testing.T, c *client, box *source) {
	t.Helper()
	if _, _, err := c.getUser("anne"); err != nil {
		t.Fatal(err)
	}
	for _, r := range box.records {
		if err := c.upload(t.Context(), box, r); err != nil {
			t.Fatal(err)
		}
	}
}

func filled(name string, n int) *source {
	box := newSource(name)
	for i := range n {
		box.deliver(fmt.Appendf(nil, "%s %d", name, i))
	}
	return box
}

// A first upload reads no records and no messages before its commit: their packs have just been put.
// Few objects are allocated for each record.
func TestFirstUploadReadsLittle(t *testing.T) {
	const n = 4_000
	store := &commitHook{Store: newStore()}
	h := newHostWith(t, manyMessages, store)
	c := h.client()
	box := filled("user.anne", n)
	uploadAll(t, c, box)
	count := countReads(h)
	var before, after runtime.MemStats
	var records, messages, packs int
	store.fn = func() {
		runtime.ReadMemStats(&after)
		records, messages, packs = count.of("r"), count.of("g"), count.of("GC")
	}
	runtime.ReadMemStats(&before)
	if err := c.s.ApplyMailbox(t.Context(), box.head(), cyrus.Since{}, seq(box.records)); err != nil {
		t.Fatal(err)
	}
	// The backup is asked once for each batch whether it has messages at all.
	if records > 0 || messages > n/1000+1 || packs > n/20 {
		t.Errorf("%d records, %d messages, %d entries of packs were read for %d records", records, messages, packs, n)
	}
	per := float64(after.Mallocs-before.Mallocs) / n
	t.Logf("%d entries of packs were read, %.1f allocations per record", packs, per)
	if per > 12 { // 14 to 18 with a lookup in the index
		t.Errorf("%.1f allocations per record before the commit", per)
	}
	c.s.Restart(t.Context())
	h.expectSame("anne", box)
}

// The places of messages whose packs this process has just put are not looked up.
func TestFreshPacksAreNotLookedUp(t *testing.T) {
	const n = 500
	h := newHostWith(t, func(o *partitions.Options) { o.InlineLimit, o.NoCheckpoints = 1, true }, newStore())
	c := h.client()
	box := filled("user.anne", n)
	uploadAll(t, c, box)
	count := countReads(h)
	if err := c.s.ApplyMailbox(t.Context(), box.head(), cyrus.Since{}, seq(box.records)); err != nil {
		t.Fatal(err)
	}
	if got := count.of("rgGC"); got > n/10 {
		t.Errorf("%d reads for %d messages", got, n)
	}
	c.s.Restart(t.Context())
	h.expectSame("anne", box)
}

// RESERVE asks several goroutines, and answers as for each message alone.
func TestLargeReserve(t *testing.T) {
	const n = 3000
	h := newHostWith(t, manyMessages, newStore())
	held, other := filled("user.anne", n), filled("user.bob", n)
	h.sync("anne", held)
	c := h.client()
	if _, _, err := c.getUser("carl"); err != nil {
		t.Fatal(err)
	}
	var guids, want []cyrus.GUID
	for i := range n {
		guids = append(guids, held.records[i].GUID, other.records[i].GUID)
		want = append(want, other.records[i].GUID)
	}
	missing, err := c.s.Reserve(t.Context(), "default", []string{"user.carl"}, guids)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(missing, want) {
		t.Errorf("%d are missing, want the %d that were not sent, in order", len(missing), len(want))
	}
}

// A change of one record costs as many reads in a large mailbox as in a small one.
func TestOneChangeReadsLittle(t *testing.T) {
	cost := func(n int) int {
		h := newHostWith(t, manyMessages, newStore())
		box := filled("user.anne", n)
		h.sync("anne", box)
		box.flag(box.records[n/2], `\Seen`)
		count := countReads(h)
		h.sync("anne", box)
		return count.of("rgGCcm")
	}
	small, large := cost(20), cost(3000)
	if large > small {
		t.Errorf("a change in a mailbox of 20 costs %d reads, in one of 3,000 %d", small, large)
	}
}
