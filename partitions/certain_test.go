package partitions_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// hostWithClock makes a host whose clock can be set ahead, so that its knowledge of packs
// expires.
func hostWithClock(t *testing.T, ahead *time.Duration, stores ...*memstore.Store) *host {
	set := func(o *partitions.Options) {
		packing(o)
		o.Now = func() time.Time { return time.Now().Add(*ahead) }
	}
	if len(stores) == 1 {
		return newHostWith(t, set, stores[0])
	}
	return newHostWith(t, set, stores[0], stores[1])
}

// A host checks once in ten minutes whether a pack exists, however many commits refer to it. It
// does not check a pack that it has put itself. A commit with only inline mail checks nothing.
func TestPacksAreCheckedOnce(t *testing.T) {
	under := withRepository(t)
	store, count := counted(under)
	var ahead time.Duration
	h := newHostWith(t, func(o *partitions.Options) {
		packing(o)
		o.Now = func() time.Time { return time.Now().Add(ahead) }
	}, store)
	anne := newMailPair("anne", 100, 21)
	h.sync("anne", anne.small, anne.large)

	n := 0
	// again uploads the same mail for another user: its commit refers to anne's pack.
	again := func(heads int) {
		t.Helper()
		n++
		name := "other" + strings.Repeat("x", n)
		user := newMailPair(name, 100, 21)
		h.sync(name, user.small)
		count.Reset()
		h.sync(name, user.small, user.large)
		// Two HEADs open the backup.
		if ops := count.Snapshot(); ops["stat"].Requests != 2+heads || ops["put"].Requests != 1 || ops["list"].Requests != 0 {
			t.Errorf("%d. user: %+v, want %d HEADs of packs and one PUT", n, ops, heads)
		}
	}
	again(0)
	ahead = 9 * time.Minute
	again(0)
	ahead = 11 * time.Minute
	again(1)
	again(0)

	copied := newSource("user.anne.Copies")
	h.sync("anne", anne.small, anne.large, copied)
	file := func(heads int) {
		t.Helper()
		copied.deliver(anne.large.bodies[anne.large.records[len(copied.records)].GUID])
		count.Reset()
		h.sync("anne", anne.small, anne.large, copied)
		if ops := count.Snapshot(); ops["stat"].Requests != 2+heads || ops["put"].Requests != 1 {
			t.Errorf("copy %d: %+v, want %d HEADs of packs and one PUT", len(copied.records), ops, heads)
		}
	}
	file(0)
	ahead = 25 * time.Minute
	file(1)
	file(0)
	// New mail and flags refer to no pack.
	ahead = 50 * time.Minute
	anne.small.deliver(mail(5000, 300))
	anne.large.flag(anne.large.records[0], `\Seen`)
	count.Reset()
	h.sync("anne", anne.small, anne.large, copied)
	if ops := count.Snapshot(); ops["stat"].Requests != 2 || ops["put"].Requests != 2 || ops["list"].Requests != 0 {
		t.Errorf("new mail and flags: %+v, want two HEADs and one PUT for each mailbox", ops)
	}
}

// If the disk of a directory is not mounted, its packs do not count as lost, and no loss is
// recorded.
func TestUnmountedDiskIsNotLost(t *testing.T) {
	store := withRepository(t)
	var ahead time.Duration
	h := hostWithClock(t, &ahead, store)
	anne, bob := newMailPair("anne", 100, 21), newMailPair("bob", 100, 21)
	h.sync("anne", anne.small, anne.large)
	h.sync("bob", bob.small)
	full := store.Snapshot()
	ahead = 11 * time.Minute
	c := h.client()
	there, _, err := c.getUser("bob")
	if err != nil {
		t.Fatal(err)
	}
	store.Rollback(memstore.Snapshot{}, "", false)
	_, err = c.updateAll(there, bob.small, bob.large)
	if !errors.Is(err, cyrus.ErrLocked) || !strings.Contains(err.Error(), "is the disk mounted") {
		t.Errorf("the partition is empty: %v", err)
	}
	c.s.Close()
	store.Rollback(full, "", false)
	sameGUIDs(t, "bob", h.syncUntil("bob", bob.small, bob.large))
	h.healthy(store, "bob", bob.small, bob.large)
	h.healthy(store, "anne", anne.small, anne.large)
}

// A pack was moved to another partition with a backup, and a note records where its entries are.
// A new reference to these entries names the pack that exists.
func TestMovedPacksAreChecked(t *testing.T) {
	w, h := inTwo(t)
	h.stop()
	to := w.other()
	w.mustMove(to)
	var ahead time.Duration
	store := w.stores[slices.Index([]string{"p0", "p1"}, to)]
	fresh := hostWithClock(t, &ahead, store)
	fresh.sync(w.who, w.boxes...)
	ahead = time.Hour
	other := newSource("user.other")
	for _, r := range w.boxes[0].records {
		if body, ok := w.boxes[0].bodies[r.GUID]; ok {
			other.deliver(body)
		}
	}
	fresh.sync("other", other)
	checkBucket(t, store, "user/other", other)
	m := load(t, store, "user/other")
	defer m.Close()
	packed := 0
	for p, err := range m.AllPlaces() {
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := history.MovedKey(p.Object); ok {
			packed++
			if store.Bytes(p.Object) == nil {
				t.Errorf("a place names %s, which does not exist", p.Object)
			}
		}
	}
	if packed == 0 {
		t.Error("no place names a moved pack: this test no longer covers its case")
	}
	fresh.expectSame(w.who, w.boxes...)
}

// Each call that checks or heals a pack fails once, permanently.
func TestHealingWithFailures(t *testing.T) {
	t.Parallel()
	calls := func(op, key string) bool {
		return strings.HasPrefix(key, "packs/") || strings.HasPrefix(key, "moved/") || key == "repository.json" ||
			op == "list" || op == "put" && strings.HasPrefix(key, "backups/")
	}
	store := withRepository(t)
	var ahead time.Duration
	h := hostWithClock(t, &ahead, store)
	for n := 1; ; n++ {
		user := fmt.Sprint("anne", n)
		b, copied := newMailPair(user, 100*n, 3), newSource("user."+user+".Copies")
		h.sync(user, b.small, b.large)
		ahead += 11 * time.Minute
		packs := store.Keys("packs/")
		store.Lose(packs[len(packs)-1])
		copied.deliver(b.large.bodies[b.large.records[0].GUID])
		seen := 0
		store.SetFaults(func(op, key string) error {
			if calls(op, key) {
				if seen++; seen == n {
					return errDenied
				}
			}
			return nil
		}, nil)
		for try := 0; ; try++ {
			c := h.client()
			_, err := c.sync(user, b.small, b.large, copied)
			c.s.Close()
			if err == nil {
				break
			}
			if try > 5 {
				t.Fatalf("call %d failed, and the user cannot sync again: %v", n, err)
			}
		}
		store.SetFaults(nil, nil)
		h.healthy(store, user, b.small, b.large, copied)
		if seen < n {
			if n < 10 {
				t.Errorf("only %d calls: this test no longer covers its case", seen)
			}
			return
		}
	}
}
