package collection_test

import (
	"slices"
	"testing"

	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// thin runs a pass for which no gain is too small.
func (w *world) thin(limit int64) *collection.Result {
	w.t.Helper()
	o := w.options()
	o.RewriteGain, o.RewriteLimit = 1, limit
	r, err := collection.Collect(w.t.Context(), w.config(), o)
	if err != nil || r.Blocking > 0 {
		w.t.Fatalf("%+v, %v", r, err)
	}
	return r
}

// ten puts a pack of ten messages, of which a backup names some.
func (w *world) ten(user string, first int, named ...int) string {
	w.t.Helper()
	var numbers []int
	for n := range 10 {
		numbers = append(numbers, first+n)
	}
	key := w.pack(numbers...)
	for _, n := range named {
		w.commit(user, map[int]string{first + n: key})
	}
	return key
}

// A pack that is mostly dead is condemned when it is a week old, and rewritten a day later. The new
// pack can become sparse in turn.
func TestSparsePack(t *testing.T) {
	w := newWorld(t)
	key := w.ten("anne", 1, 0, 1, 2)
	w.later(6 * day)
	if r := w.thin(0); r.Thinning.Packs != 0 {
		t.Fatalf("a pack of six days: %+v", r)
	}
	w.later(2 * day)
	if r := w.collect(); r.Thinning.Packs != 0 {
		t.Fatalf("the gain is too small: %+v", r)
	}
	if r := w.thin(0); r.Thinning.Packs != 1 || !w.condemned(key) || r.Sparse.Packs != 1 || r.Condemning.Packs != 0 {
		t.Fatalf("%+v", r)
	}
	list := w.mem.Bytes(history.CondemnedKey)
	w.mem.Lose(history.CondemnedKey)
	if r, err := w.tryCollect(); err != nil || r.Blocking == 0 {
		t.Errorf("the list is lost: %+v, %v", r, err)
	}
	w.put(history.CondemnedKey, list)
	w.later(25 * hour)
	w.thin(0)
	w.later(25 * hour)
	r := w.thin(0)
	if w.has(key) || r.Replaced.Packs != 1 || r.Sparse.Packs != 0 || len(w.packs()) != 1 {
		t.Fatalf("exists %v: %+v", w.has(key), r)
	}
	second := w.packs()[0]
	w.commit("anne", nil, expunge(1, 2))
	w.retain("anne")
	w.later(8 * day)
	if r := w.thin(0); r.Thinning.Packs != 1 || !w.condemned(second) {
		t.Fatalf("in turn: %+v", r)
	}
	w.later(25 * hour)
	w.thin(0)
	w.later(25 * hour)
	w.thin(0)
	if packs := w.packs(); len(packs) != 1 || packs[0] == second || !slices.Equal(w.entries(packs[0]), []int{3}) {
		t.Errorf("packs %v", packs)
	}
	w.check("anne")
}

// Log and checkpoints name the same entries, which count once. Those of different backups, and of
// different commits, add up.
func TestSparseEstimate(t *testing.T) {
	for name, c := range map[string]struct {
		make   func(w *world) string
		sparse bool
	}{
		"three of ten, in two checkpoints and in the log": {func(w *world) string {
			key := w.ten("anne", 1, 0, 1, 2)
			w.checkpoint("anne")
			w.commit("anne", map[int]string{50: ""})
			w.checkpoint("anne")
			return key
		}, true},
		"six of ten, by a commit for each": {func(w *world) string { return w.ten("anne", 1, 0, 1, 2, 3, 4, 5) }, false},
		"six of ten, half of them after the checkpoint": {func(w *world) string {
			key := w.ten("anne", 1, 0, 1, 2)
			w.checkpoint("anne")
			w.commit("anne", map[int]string{4: key, 5: key, 6: key})
			return key
		}, false},
		"six of ten, half of them since retention": {func(w *world) string {
			key := w.ten("anne", 1, 0, 1, 2)
			w.retain("anne")
			w.commit("anne", map[int]string{4: key, 5: key, 6: key})
			return key
		}, false},
		"six of ten, half of them by a note": {func(w *world) string {
			old, key := history.PackKey([32]byte{7}), w.ten("anne", 1, 0, 1, 2)
			w.commit("bert", map[int]string{4: old, 5: old, 6: old})
			w.noteMoved(old, key, 4, 5, 6)
			return key
		}, false},
		"six of ten, in a checkpoint only": {func(w *world) string {
			key := w.ten("anne", 1, 0, 1, 2, 3, 4, 5)
			w.retain("anne")
			return key
		}, false},
		"six of ten, by two backups": {func(w *world) string {
			key := w.ten("anne", 1, 0, 1, 2)
			w.commit("bert", map[int]string{8: key, 9: key, 10: key})
			return key
		}, false},
		"three of ten, by a backup that was moved here": {func(w *world) string {
			old, key := history.PackKey([32]byte{7}), w.ten("anne", 1)
			w.commit("anne", map[int]string{1: old, 2: old, 3: old})
			w.noteMoved(old, key, 1, 2, 3)
			return key
		}, true},
		"six of ten, by a backup that was moved here": {func(w *world) string {
			old, key := history.PackKey([32]byte{7}), w.ten("anne", 1)
			w.commit("anne", map[int]string{1: old, 2: old, 3: old, 4: old, 5: old, 6: old})
			w.noteMoved(old, key, 1, 2, 3, 4, 5, 6)
			return key
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			key := c.make(w)
			w.later(8 * day)
			w.collect() // the next pass uses the cache
			for i := range 3 {
				if w.thin(0); w.condemned(key) != c.sparse {
					t.Errorf("pass %d: condemned %v", i, w.condemned(key))
				}
				w.cache = t.TempDir() // then the uses
			}
		})
	}
}

// No more packs are condemned than the next pass can rewrite, those with the most to gain first.
func TestSparseLimit(t *testing.T) {
	w := newWorld(t)
	less, most, some := w.ten("anne", 1, 0, 1, 2), w.ten("anne", 20, 0), w.ten("anne", 40, 0, 1)
	limit := int64(len(w.mem.Bytes(most)) + 10)
	w.later(8 * day)
	if r := w.thin(limit); r.Thinning.Packs != 1 || !w.condemned(most) {
		t.Fatalf("%+v", r)
	}
	w.later(hour)
	if r := w.thin(limit); r.Thinning.Packs != 0 || r.Sparse.Packs != 1 {
		t.Fatalf("the first one was not rewritten yet: %+v", r)
	}
	for range 12 {
		w.later(25 * hour)
		w.thin(limit)
	}
	w.check("anne")
	for _, key := range []string{less, most, some} {
		if w.has(key) {
			t.Errorf("%s still exists", key)
		}
	}
}

// The directory of a pack is read once.
func TestSparseReadsOnce(t *testing.T) {
	w := newWorld(t)
	for n := range 5 {
		w.ten("anne", 10*n+1, 0, 1, 2, 3, 4, 5, 6)
	}
	w.later(8 * day)
	w.thin(0)
	w.count.Reset()
	if w.thin(0); w.count.Snapshot()["get"].Ops > 10 {
		t.Errorf("%d GETs although nothing has changed", w.count.Snapshot()["get"].Ops)
	}
	w.cache = t.TempDir()
	w.count.Reset()
	if w.thin(0); w.count.Snapshot()["get"].Ops < 5 {
		t.Errorf("%d GETs without a cache: this test no longer covers its case", w.count.Snapshot()["get"].Ops)
	}
}

// A damaged pack is not condemned, because it could not be rewritten.
func TestSparseDamaged(t *testing.T) {
	w := newWorld(t)
	key := w.ten("anne", 1, 0)
	w.mem.Truncate(key, 100)
	w.later(8 * day)
	if r := w.thin(0); r.Thinning.Packs != 0 || w.condemned(key) {
		t.Errorf("%+v", r)
	}
}
