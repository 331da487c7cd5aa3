package collection_test

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// An unchanged backup costs no GET, and a changed one at most three.
func TestRequests(t *testing.T) {
	w := newWorld(t)
	const users = 50
	name := func(i int) string { return fmt.Sprintf("user%02d", i) }
	for i := range users {
		for c := range 5 {
			w.commit(name(i), map[int]string{c + 1: w.pack(i*10+c+1, 1000+c)})
		}
		w.checkpoint(name(i))
	}
	w.collect()
	gets := func() int {
		w.count.Reset()
		w.collect()
		return w.count.Snapshot()["get"].Ops
	}
	idle := gets()
	if idle > 10 {
		t.Errorf("%d GETs although nothing has changed", idle)
	}
	for i := range 10 {
		w.commit(name(i), map[int]string{9: ""})
		w.commit(name(i), map[int]string{8: ""})
	}
	if n := gets() - idle; n > 30 {
		t.Errorf("%d GETs for 10 changed backups", n)
	}
	for night := range 6 {
		w.commit(name(0), map[int]string{9: ""})
		if n := gets() - idle; n > 3 {
			t.Errorf("%d GETs for a new commit in night %d", n, night)
		}
	}
	// Another host has no cache, and reads the uses.
	w.cache = t.TempDir()
	if n := gets() - idle; n > users*3 {
		t.Errorf("%d GETs without a cache", n)
	}
	// Many new commits are read once, and not again by a host without a cache.
	for range 20 {
		w.commit(name(0), map[int]string{7: ""})
	}
	w.collect()
	w.cache = ""
	if n := gets() - idle; n > users*3 {
		t.Errorf("%d GETs without a cache after many commits", n)
	}
}

// What a run has read is not read again, unless the object was replaced meanwhile. It counts as if it
// had been read.
func TestSeen(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		w := newWorld(t)
		pack, other := w.pack(1), w.pack(2)
		w.commit("anne", map[int]string{1: pack})
		w.collect()
		w.commit("anne", map[int]string{2: other})
		path := w.found("anne").Path
		info, err := w.mem.Stat(t.Context(), history.LogKey(path, 2))
		if err != nil {
			t.Fatal(err)
		}
		seen, err := collection.NewSeen()
		if err != nil {
			t.Fatal(err)
		}
		defer seen.Close()
		for _, key := range []string{history.LogKey(path, 2), history.LogKey(path, 1)} { // the second is not in order
			at := info
			at.Key = key
			if err := seen.Add(at, map[string]uint32{other: 1}, "r"); err != nil {
				t.Fatal(err)
			}
		}
		reads := 2 // of the uses and a commit: too few objects for a put of the uses
		if replaced {
			w.put(history.LogKey(path, 2), w.mem.Bytes(history.LogKey(path, 2)))
			reads = 3
		}
		log := map[string]int{}
		w.mem.SetFaults(func(op, key string) error {
			if op == "get" && strings.HasPrefix(key, "backups/") {
				log[key]++
			}
			return nil
		}, nil)
		o := w.options()
		o.Seen = seen
		r, err := collection.Collect(t.Context(), w.config(), o)
		w.mem.SetFaults(nil, nil)
		if err != nil || r.Blocking > 0 {
			t.Fatal(err, r.Blocked)
		}
		if got := log[history.LogKey(path, 2)]; got != 0 && !replaced || got != 1 && replaced {
			t.Errorf("replaced: %v: it was read %d times", replaced, got)
		}
		if r.Used.Packs != 2 || len(log) >= reads+1 {
			t.Errorf("%d packs are used; %v", r.Used.Packs, log)
		}
		w.collectFor(12)
		if !w.has(pack) || !w.has(other) {
			t.Error("a used pack was removed")
		}
	}
}

// Summarize leaves nothing to read but the uses.
func TestSummarize(t *testing.T) {
	w := newWorld(t)
	for c := range 40 {
		w.commit("anne", map[int]string{c + 1: w.pack(c + 1)})
	}
	f := w.found("anne")
	f.Partition = w.config()
	if err := collection.Summarize(t.Context(), f, w.now); err != nil {
		t.Fatal(err)
	}
	w.count.Reset()
	w.cache = ""
	if w.collect(); w.count.Snapshot()["get"].Ops > 10 {
		t.Errorf("%d GETs after Summarize", w.count.Snapshot()["get"].Ops)
	}
	before := w.mem.Snapshot()
	if err := collection.Summarize(t.Context(), f, w.now); err != nil {
		t.Fatal(err)
	}
	if changed := w.mem.Changed(before); len(changed) > 0 {
		t.Errorf("a second Summarize has put %v", changed)
	}
}

// Uses and cache are believed only for the very objects that they describe.
func TestBucketWentBack(t *testing.T) {
	for _, with := range []string{"cache", "uses"} {
		t.Run(with, func(t *testing.T) {
			w := newWorld(t)
			p, q := w.pack(1), w.pack(2)
			then := w.mem.Snapshot()
			w.commit("anne", map[int]string{1: p})
			older := w.mem.Snapshot()
			log := history.LogKey("user/anne", 1)
			for size := len(w.mem.Bytes(log)); ; { // a commit has random bytes
				w.mem.Rollback(then, "backups/", false)
				if w.commit("anne", map[int]string{2: q}); len(w.mem.Bytes(log)) == size {
					break
				}
			}
			w.later(8 * day)
			w.collect()
			f := w.found("anne")
			if err := collection.Summarize(t.Context(), f, w.now); err != nil {
				t.Fatal(err)
			}
			uses := "backups/user/anne/uses.ndjson.zst"
			newer := w.mem.Snapshot()
			w.mem.Rollback(older, "backups/", false)
			if with == "uses" {
				w.cache = ""
				w.mem.Rollback(newer, uses, true)
			}
			w.later(25 * hour)
			w.acceptMissing("user/anne") // the newest commit is another one
			w.later(25 * hour)
			w.collectFor(3)
			if w.has(q) {
				t.Error("the pack of the newer state is still there")
			}
			w.check("anne")
		})
	}
}

// Damaged uses and a damaged cache cost requests, and nothing else.
func TestDamagedSummaries(t *testing.T) {
	w := newWorld(t)
	p := w.pack(1)
	w.commit("anne", map[int]string{1: p})
	w.commit("anne", map[int]string{2: ""})
	w.commit("anne", map[int]string{3: ""})
	w.later(8 * day)
	w.collect()
	uses := "backups/user/anne/uses.ndjson.zst"
	if !w.has(uses) {
		t.Fatal("no uses")
	}
	size := len(w.mem.Bytes(uses))
	for off := 0; off < size; off++ {
		w.cache = ""
		w.mem.Flip(uses, off)
		if w.collect(); w.condemned(p) {
			t.Fatalf("byte %d of the uses is damaged, and the pack condemned", off)
		}
		w.mem.Lose(uses)
		w.collect()
	}
}

// The memory of a pass does not depend on the number of packs and backups.
func TestMemory(t *testing.T) {
	if short() {
		t.Skip("a million names of packs take a while")
	}
	w := newWorld(t)
	const users, packs = 200, 10_000
	for i := range users {
		in := map[int]string{}
		for n := range packs {
			in[n+1] = history.PackKey([32]byte{byte(n), byte(n >> 8), byte(i), 1})
		}
		w.commit(fmt.Sprintf("user%04d", i), in)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(10)) // garbage counts little
	runtime.GC()
	base, peak := heap(), atomic.Uint64{}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
				peak.Store(max(peak.Load(), heap()))
			}
		}
	}()
	w.collect() // reads everything
	w.cache = ""
	w.collect() // reads the uses
	close(done)
	used := int64(peak.Load()) - int64(base)
	garbage := int64(peak.Load()) / 10 // of the repository too, until it is collected
	if t.Logf("%d MiB beside the repository of %d MiB", used>>20, base>>20); used-garbage > 160<<20 {
		t.Error("that is too much")
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
