package collection_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// versioned makes the store of a world keep former versions.
func (w *world) versioned() {
	w.t.Helper()
	old := w.mem
	w.mem = memstore.NewVersioned(func() time.Time { return w.now })
	w.store = w.mem
	for _, key := range old.Keys("") {
		w.put(key, old.Bytes(key))
	}
}

// erased prepares a partition in which anne was erased. She has a pack for herself, and shares
// another with bert.
func erased(w *world) (own, shared string) {
	own, shared = w.pack(1), w.pack(2, 3, 4)
	w.commit("anne", map[int]string{1: own, 2: shared})
	w.commit("bert", map[int]string{3: shared})
	w.condemn(own, shared)
	w.erase("anne")
	return own, shared
}

func packsOf(keys ...string) iter.Seq2[collection.Pack, error] {
	slices.Sort(keys)
	return func(yield func(collection.Pack, error) bool) {
		for _, k := range keys {
			var p collection.Pack
			if err := p.UnmarshalText([]byte(k[len("packs/ab/"):][:64])); !yield(p, err) {
				return
			}
		}
	}
}

func (w *world) collectErasing(keys ...string) *collection.Result {
	w.t.Helper()
	o := w.options()
	o.Erase = packsOf(keys...)
	o.RewriteLimit = 1
	r, err := collection.Collect(w.t.Context(), w.config(), o)
	if err != nil || r.Blocking > 0 {
		w.t.Fatalf("%+v, %v", r, err)
	}
	return r
}

// versions returns the packs with former versions.
func (w *world) versions() (keys []string) {
	w.t.Helper()
	for v, err := range w.mem.Noncurrent(w.t.Context(), "packs/", "") {
		if err != nil {
			w.t.Fatal(err)
		}
		keys = append(keys, v.Key)
	}
	return keys
}

// Packs with erased bodies are removed after two hours with all their versions, and those that
// others use are rewritten.
func TestErase(t *testing.T) {
	w := newWorld(t)
	w.versioned()
	own, shared := erased(w)
	w.put(own, w.mem.Bytes(own)) // a former version
	w.later(hour)
	if r := w.collectErasing(own, shared); !w.has(own) || !w.has(shared) || r.Erasing != 2 {
		t.Fatalf("after an hour: %+v", r)
	}
	w.later(2 * hour)
	r := w.collectErasing(own, shared)
	if w.has(own) || w.has(shared) || r.Erasing != 0 || r.Removed.Packs != 1 || r.Rewritten.Packs != 1 || len(w.versions()) > 0 {
		t.Errorf("after three hours: %+v, versions of %v", r, w.versions())
	}
	if packs := w.packs(); len(packs) != 1 || !slices.Equal(w.entries(packs[0]), []int{3}) {
		t.Errorf("packs %v", packs)
	}
	w.check("bert")
	w.later(8 * day)
	w.collectErasing(own, shared)
	w.check("bert")
}

// Other packs keep their grace of a day.
func TestEraseOnlySome(t *testing.T) {
	w := newWorld(t)
	w.versioned()
	own, shared := erased(w)
	w.later(3 * hour)
	if r := w.collectErasing(own); w.has(own) || !w.has(shared) || r.Erasing != 0 {
		t.Errorf("own %v, shared %v: %+v", w.has(own), w.has(shared), r)
	}
}

// A bucket retains a version: a later pass removes it.
func TestEraseRetained(t *testing.T) {
	w := newWorld(t)
	w.versioned()
	own, shared := erased(w)
	until := w.now.Add(day)
	w.mem.Retain(own, until)
	w.later(3 * hour)
	r := w.collectErasing(own, shared)
	if r.Erasing != 1 || !r.Retained.Equal(until) || len(r.Kept) != 1 || !errors.Is(r.Kept[0].Err, objstore.ErrRetained) {
		t.Errorf("%+v", r)
	}
	w.later(day)
	if r = w.collectErasing(own, shared); r.Erasing != 0 || r.Keeping != 0 || len(w.versions()) > 0 {
		t.Errorf("later: %+v, versions of %v", r, w.versions())
	}
}

// The versions of a pack that disappeared for another reason may be the only copies of what others
// need.
func TestEraseLeavesLostPacks(t *testing.T) {
	w := newWorld(t)
	w.versioned()
	own, shared := erased(w)
	if err := w.mem.Delete(t.Context(), shared); err != nil {
		t.Fatal(err)
	}
	w.later(3 * hour)
	if r := w.collectErasing(own, shared); r.Erasing != 1 || r.Keeping != 1 || !slices.Contains(w.versions(), shared) {
		t.Errorf("%+v, versions of %v", r, w.versions())
	}
	// Nothing is left of a pack that only a note knows, as after a move.
	elsewhere := history.PackKey([32]byte{1})
	w.noteMoved(elsewhere, own, 1)
	if r := w.collectErasing(elsewhere); r.Erasing != 0 || r.Keeping != 0 {
		t.Errorf("never stored: %+v", r)
	}
}

// A pass that was interrupted before it has removed the versions is repeated.
func TestEraseInterrupted(t *testing.T) {
	w := newWorld(t)
	w.versioned()
	own, shared := erased(w)
	w.later(3 * hour)
	w.condemn(own, shared)
	w.later(25 * hour)
	w.collect() // without Erase
	if w.has(own) || len(w.versions()) == 0 {
		t.Fatalf("own %v, versions of %v", w.has(own), w.versions())
	}
	w.later(hour)
	if r := w.collectErasing(own, shared); r.Erasing != 0 || len(w.versions()) > 0 {
		t.Errorf("%+v, versions of %v", r, w.versions())
	}
	w.check("bert")
	for _, key := range w.packs() {
		if bytes.Contains(w.mem.Bytes(key), body(2)) {
			t.Errorf("%s has the message", key)
		}
	}
}

// The new pack of a rewritten one is erased by the pass that would remove the old one. Readers follow one
// note only, so no note may lead there.
func TestNewPackIsErasedInTheNight(t *testing.T) {
	for range 8 { // the keys come in both orders
		w := newWorld(t)
		former, key := w.pack(5), w.pack(1, 2, 5)
		w.commit("anne", map[int]string{1: key})
		w.commit("carl", map[int]string{5: former})
		w.noteMoved(former, key, 5)
		w.mem.Lose(former)
		w.condemn(key)
		w.later(25 * hour)
		w.collect()
		second := slices.DeleteFunc(w.packs(), func(k string) bool { return k == key })[0]
		w.later(18 * hour)
		w.condemn(second)
		w.later(3 * hour)
		w.collectErasing(second)
		for range 3 {
			w.check("anne")
			w.check("carl")
			w.nextNight()
		}
		if w.has(key) || w.has(second) {
			t.Errorf("the packs still exist: %v, %v", w.has(key), w.has(second))
		}
	}
}

// A pack of two erasures, of which one is due and the other waits, stays: a copy of the bodies that wait would be in a
// pack that no erasure has on record.
func TestEraseKeeps(t *testing.T) {
	w := newWorld(t)
	w.versioned()
	_, shared := erased(w)
	for name, keep := range map[string]func(context.Context) (iter.Seq2[collection.Pack, error], bool, error){
		"listed": func(context.Context) (iter.Seq2[collection.Pack, error], bool, error) {
			return packsOf(shared), false, nil
		},
		"all": func(context.Context) (iter.Seq2[collection.Pack, error], bool, error) { return nil, true, nil },
	} {
		w.later(25 * hour)
		o := w.options()
		o.Erase, o.Keep = packsOf(shared), keep
		r, err := collection.Collect(t.Context(), w.config(), o)
		if err != nil || !w.has(shared) || r.Erasing != 1 || r.Rewritten.Packs > 0 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	w.later(3 * hour)
	if r := w.collectErasing(shared); w.has(shared) || r.Erasing != 0 {
		t.Errorf("without the other erasure: %+v", r)
	}
	w.check("bert")
}
