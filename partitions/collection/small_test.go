package collection_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// smallPacks puts packs of one message, which two backups name in their checkpoints only.
func (w *world) smallPacks(first, n int) (keys []string) {
	w.t.Helper()
	for i := range n {
		key := w.pack(first + i)
		keys = append(keys, key)
		w.commit([]string{"anne", "bert"}[i%2], map[int]string{first + i: key})
	}
	w.retain("anne")
	w.retain("bert")
	return keys
}

// Small packs become one when only checkpoints name them. It takes three nights, like any rewrite.
func TestSmallPacks(t *testing.T) {
	w := newWorld(t)
	keys := w.smallPacks(1, 9)
	w.later(6 * day)
	if r := w.collect(); r.Thinning.Packs != 0 {
		t.Fatalf("packs of six days: %+v", r)
	}
	w.later(2 * day)
	if r := w.collect(); r.Thinning.Packs != 9 || r.Condemning.Packs != 0 || !w.condemned(keys[0]) {
		t.Fatalf("%+v", r)
	}
	w.later(25 * hour)
	if r := w.collect(); r.Rewritten.Packs != 9 || r.Written.Packs != 1 {
		t.Fatalf("%+v", r)
	}
	w.later(21 * hour)
	if r := w.collect(); r.Replaced.Packs != 9 || r.All.Packs != 1 {
		t.Fatalf("%+v", r)
	}
	w.check("anne")
	w.check("bert")
	packs := w.packs()
	if len(packs) != 1 || len(w.entries(packs[0])) != 9 {
		t.Errorf("packs %v", packs)
	}
	w.later(10 * day)
	if r := w.collect(); r.Thinning.Packs+r.Rewritten.Packs != 0 {
		t.Errorf("again: %+v", r)
	}
}

// A small pack is not merged while its merge would cost readers more than it saves.
func TestSmallPacksStay(t *testing.T) {
	for name, prepare := range map[string]func(w *world){
		"too few": func(w *world) { w.smallPacks(1, 7) },
		"named by the log": func(w *world) {
			for n := range 9 {
				w.commit("anne", map[int]string{1 + n: w.pack(1 + n)})
			}
			w.checkpoint("anne")
		},
		"named by the log of another backup": func(w *world) {
			for n, key := range w.smallPacks(1, 9) {
				w.commit("carl", map[int]string{1 + n: key})
			}
		},
		"led to by notes": func(w *world) {
			var keys []string
			for n := range 9 {
				former, key := history.PackKey([32]byte{7, byte(n)}), w.pack(1+n)
				w.noteMoved(former, key, 1+n)
				keys = append(keys, former)
			}
			for n, key := range keys {
				w.commit("anne", map[int]string{1 + n: key})
			}
			w.retain("anne")
		},
		"set aside": func(w *world) {
			w.smallPacks(1, 9)
			for _, key := range w.mem.Keys("backups/") {
				rel := strings.TrimPrefix(key, "backups/user/")
				user, name, _ := strings.Cut(rel, "/")
				w.put(fmt.Sprintf("set-aside/user/%s/20270301T000000Z/%s", user, name), w.mem.Bytes(key))
				w.mem.Lose(key)
			}
		},
		"of several sizes": func(w *world) {
			for n := range 7 {
				w.commit("anne", map[int]string{1 + n: w.pack(1 + n)})
				numbers := map[int]string{}
				var list []int
				for i := range 60 {
					list = append(list, 100*(1+n)+i)
				}
				key := w.pack(list...)
				for _, i := range list {
					numbers[i] = key
				}
				w.commit("anne", numbers)
			}
			w.retain("anne")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			prepare(w)
			for range 3 {
				w.later(8 * day)
				if r := w.collect(); r.Thinning.Packs+r.Rewritten.Packs != 0 {
					t.Fatalf("%+v", r)
				}
			}
		})
	}
}

// A host that puts one small pack each night for months keeps few of them, and rewrites no byte often.
func TestSmallPacksOfManyNights(t *testing.T) {
	w := newWorld(t)
	const nights = 70
	var rewritten, put int64
	for n := range nights {
		key := w.pack(n + 1)
		put += int64(len(w.mem.Bytes(key)))
		w.commit("anne", map[int]string{n + 1: key})
		w.retain("anne")
		w.later(25 * hour)
		rewritten += w.collect().Rewritten.Bytes
	}
	w.check("anne")
	if packs := len(w.packs()); packs > 30 {
		t.Errorf("%d packs after %d nights", packs, nights)
	}
	if rewritten > 4*put {
		t.Errorf("%d bytes rewritten of %d", rewritten, put)
	}
}

// Each request of the nights that merge packs fails in turn, or loses its answer, beside a second
// collector. Every message is there then, and a later night completes the merge.
func TestSmallPacksWithFaults(t *testing.T) {
	w := newWorld(t)
	w.smallPacks(1, 9)
	w.later(8 * day)
	start, at := w.mem.Snapshot(), w.now
	for _, lost := range []bool{false, true} {
		step := 6 * stride()
		for n := rand.IntN(step); ; n += step {
			w.mem.Rollback(start, "", false)
			w.now, w.cache = at, t.TempDir()
			s := faultstore.New(w.mem)
			f := faultstore.Fault{Skip: n, Count: 1, Before: faultstore.Lost}
			if lost {
				f.Before, f.After = nil, faultstore.Lost
			}
			s.Add(f)
			for range 4 {
				o := w.options()
				part := w.config()
				part.Store = s
				_, _ = collection.Collect(t.Context(), part, o) // may fail
				w.later(25 * hour)
				o.Lock.Owner = "another"
				o.Cache = ""
				if _, err := collection.Collect(t.Context(), w.config(), o); err != nil {
					t.Fatalf("request %d: %v", n, err)
				}
			}
			w.check("anne")
			w.check("bert")
			if s.Struck() == 0 {
				if n < 60 {
					t.Errorf("the nights have only %d requests", n)
				}
				break
			}
			w.collectFor(3)
			if packs := w.packs(); len(packs) != 1 || len(slices.Compact(w.entries(packs[0]))) != 9 {
				t.Fatalf("request %d: packs %v", n, packs)
			}
		}
	}
}

// Somebody refers to an entry of a small pack just before it is condemned: that entry is copied too, and
// those that nobody names are not.
func TestSmallPackUsedMeanwhile(t *testing.T) {
	w := newWorld(t)
	var keys []string
	for n := range 9 {
		keys = append(keys, w.pack(1+n, 101+n, 201+n))
		w.commit("anne", map[int]string{1 + n: keys[n]})
	}
	w.retain("anne")
	w.later(8 * day)
	if r := w.collect(); r.Thinning.Packs != 9 {
		t.Fatalf("%+v", r)
	}
	for n := range 9 {
		w.commit("carl", map[int]string{101 + n: keys[n]}) // he has read the list before
	}
	w.later(25 * hour)
	w.collect()
	w.later(21 * hour)
	if r := w.collect(); r.Replaced.Packs != 9 {
		t.Fatalf("%+v", r)
	}
	w.check("anne")
	w.check("carl")
	if packs := w.packs(); len(packs) != 1 || len(w.entries(packs[0])) != 18 {
		t.Errorf("packs %v, want one with 18 entries", packs)
	}
}

// The limits of a merge: a pack is small below a quarter of a new one, and a night rewrites only so many
// bytes and packs.
func TestSmallPacksLimits(t *testing.T) {
	const packs = 1100
	for name, c := range map[string]struct {
		set  func(o *collection.Options, smallest, largest int64)
		want int
	}{
		"just small":       {func(o *collection.Options, _, largest int64) { o.PackSize = 4 * largest }, 1024},
		"just not small":   {func(o *collection.Options, smallest, _ int64) { o.PackSize = 4*smallest - 1 }, 0},
		"bytes of 8 packs": {func(o *collection.Options, _, largest int64) { o.RewriteLimit = 8 * largest }, 8},
		"bytes of 7 packs": {func(o *collection.Options, smallest, _ int64) { o.RewriteLimit = 8*smallest - 1 }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			at := map[int]string{}
			smallest, largest := int64(math.MaxInt64), int64(0)
			for n := range packs {
				key := w.pack(1000 + n)
				size := int64(len(w.mem.Bytes(key)))
				at[1000+n], smallest, largest = key, min(smallest, size), max(largest, size)
			}
			w.commit("anne", at)
			w.retain("anne")
			w.later(8 * day)
			o := w.options()
			c.set(&o, smallest, largest)
			r, err := collection.Collect(t.Context(), w.config(), o)
			if err != nil || r.Thinning.Packs != c.want {
				t.Errorf("%d packs are condemned, want %d: %v", r.Thinning.Packs, c.want, err)
			}
		})
	}
}

// Packs are merged in one night of a week: in the nights after that, many backups are read.
func TestSmallPacksOnceAWeek(t *testing.T) {
	w := newWorld(t)
	w.smallPacks(1, 9)
	w.later(4 * day)
	w.smallPacks(100, 9)
	w.later(4 * day)
	if r := w.collect(); r.Thinning.Packs != 9 {
		t.Fatalf("%+v", r)
	}
	var nights []int
	for n := range 16 {
		w.later(day)
		if w.collect().Thinning.Packs > 0 {
			nights = append(nights, n+1)
		}
	}
	if !slices.Equal(nights, []int{7}) {
		t.Errorf("the other packs were condemned in nights %v after that, want 7", nights)
	}
}

// With "backup_dedup: backup", each of the users who got the same message has a pack with an entry of
// the same name. A new pack cannot have it twice, so a merge would change nothing.
func TestSmallPacksOfBackupsThatShareNothing(t *testing.T) {
	w := newWorld(t)
	w.dedup("backup")
	for n := range 10 {
		u := fmt.Sprint("user", n)
		w.commit(u, map[int]string{1: w.pack(1)})
		w.retain(u)
	}
	for range 30 {
		w.later(25 * hour)
		if r := w.collect(); r.Thinning.Packs+r.Rewritten.Packs != 0 {
			t.Fatalf("%+v", r)
		}
	}
}

// A damaged small pack stays, and costs one request a week rather than a count in every night.
func TestSmallPackDamaged(t *testing.T) {
	w := newWorld(t)
	keys := w.smallPacks(1, 9)
	b := slices.Clone(w.mem.Bytes(keys[3]))
	b[len(b)/2] ^= 1
	w.put(keys[3], b)
	w.later(8 * day)
	if r := w.collect(); r.Thinning.Packs != 8 || w.condemned(keys[3]) {
		t.Fatalf("%+v", r)
	}
	for range 3 {
		w.later(25 * hour)
		if r := w.collect(); r.Keeping > 0 {
			t.Errorf("%+v", r)
		}
	}
	if w.mem.Bytes(keys[3]) == nil {
		t.Error("the damaged pack is gone")
	}
}
