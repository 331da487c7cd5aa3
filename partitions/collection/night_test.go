package collection_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Something names another entry of a pack in the night after its rewrite, as a writer does that slept
// for a day. The count before the removal finds it.
func TestNamedInTheNight(t *testing.T) {
	w := newWorld(t)
	key := w.pack(1, 2, 3)
	w.commit("anne", map[int]string{1: key})
	w.condemn(key)
	w.later(25 * hour)
	w.collect()
	w.commit("bert", map[int]string{2: key})
	if r := w.nextNight(); !w.has(key) || r.Replaced.Packs != 0 || r.Rewritten.Packs != 1 {
		t.Errorf("exists %v: %+v", w.has(key), r)
	}
	if r := w.nextNight(); w.has(key) || r.Replaced.Packs != 1 || w.note(key) != 2 {
		t.Errorf("exists %v, note with %d entries: %+v", w.has(key), w.note(key), r)
	}
	w.check("anne")
	w.check("bert")
}

// A person has restored a pack that was rewritten long ago. Its old note does not replace the night.
func TestOldNoteIsNoRewrite(t *testing.T) {
	w := newWorld(t)
	key := w.pack(1, 2, 3)
	b := w.mem.Bytes(key)
	w.commit("anne", map[int]string{1: key})
	w.condemn(key)
	w.later(25 * hour)
	w.collect()
	if w.nextNight(); w.has(key) {
		t.Fatal("the pack still exists")
	}
	w.later(3 * hour)
	if w.collect(); w.condemned(key) {
		t.Fatal("the pack is still on the list")
	}
	w.put(key, b)
	w.commit("anne", map[int]string{2: key})
	w.condemn(key)
	w.later(25 * hour)
	w.commit("anne", nil, expunge(2))
	w.retain("anne")
	w.collect()
	if err := history.CheckChunk(t.Context(), history.NewObjects(w.mem, 0), place(2, key)); err != nil {
		t.Errorf("dropped in this night: %v", err)
	}
	if w.nextNight(); w.has(key) {
		t.Error("the pack still exists")
	}
	w.check("anne")
}

// The new pack is gone before the old one is removed, and a note leads from it to a third one. Readers
// follow one note only.
func TestNewPackHasMoved(t *testing.T) {
	w := newWorld(t)
	key := w.pack(1, 2, 3)
	w.commit("anne", map[int]string{1: key})
	w.condemn(key)
	w.later(25 * hour)
	w.collect()
	others := slices.DeleteFunc(w.packs(), func(k string) bool { return k == key })
	w.noteMoved(others[0], w.pack(1), 1)
	w.mem.Lose(others[0])
	w.nextNight()
	w.check("anne")
	if w.nextNight(); w.has(key) {
		t.Error("the pack still exists")
	}
	w.check("anne")
}

// forgetful loses one put below a prefix, and answers as if it had stored it.
type forgetful struct {
	objstore.Store
	prefix string
	skip   int
}

func (s *forgetful) Put(ctx context.Context, key string, body objstore.Body, o objstore.PutOptions) (objstore.Info, error) {
	if strings.HasPrefix(key, s.prefix) {
		if s.skip--; s.skip == -1 {
			return objstore.Info{Key: key, Size: body.Size(), ETag: "lost"}, nil
		}
	}
	return s.Store.Put(ctx, key, body, o)
}

// A store answers that it has stored a note or a new pack, and has not. Both are read back before anything
// is removed.
func TestStoreForgets(t *testing.T) {
	for _, prefix := range []string{"moved/", "packs/"} {
		for n, more := 0, true; more; n++ {
			t.Run(fmt.Sprint(prefix, n), func(t *testing.T) {
				w := newWorld(t)
				key, former := shared(w)
				s := &forgetful{w.mem, prefix, n}
				for range 2 {
					w.store = s
					if _, err := w.tryCollect(); err != nil && !errors.Is(err, objstore.ErrNotExist) {
						t.Error(err)
					}
					w.store = w.mem
					for _, u := range []string{"anne", "bert", "carl"} {
						w.check(u)
					}
					w.later(21 * hour)
				}
				more = s.skip < 0
				w.settle()
				w.rewritten(key, former)
			})
		}
	}
}

// Retention drops an entry a minute before a rewritten pack is removed. A restore that has begun before finds
// the entry in the new pack, also by an older note.
func TestDroppedBeforeRemoval(t *testing.T) {
	for _, older := range []bool{false, true} {
		w := newWorld(t)
		former, key := w.pack(5, 6), w.pack(1, 5, 6)
		at := key
		if older {
			at = former
			w.noteMoved(former, key, 5, 6)
			w.mem.Lose(former)
		}
		w.commit("anne", map[int]string{5: at, 6: at})
		w.condemn(key)
		w.later(25 * hour)
		w.collect()
		w.later(21 * hour)
		w.commit("anne", nil, expunge(5))
		w.retain("anne")
		if w.collect(); w.has(key) {
			t.Fatal("the pack still exists")
		}
		if err := history.CheckChunk(t.Context(), history.NewObjects(w.mem, 0), place(5, at)); err != nil {
			t.Errorf("older note %v: %v", older, err)
		}
		w.check("anne")
	}
}

// Retention drops the last entry of a used pack a minute before the pass that would rewrite it. The pack was
// used when it was condemned, so it has had no grace yet.
func TestUnusedBeforeRewrite(t *testing.T) {
	for _, rewritten := range []bool{false, true} {
		w := newWorld(t)
		key := w.ten("anne", 1, 0)
		w.later(8 * day)
		if w.thin(0); !w.condemned(key) {
			t.Fatal("the pack is not condemned")
		}
		w.later(25 * hour)
		if rewritten {
			w.thin(0)
			w.later(hour)
		}
		w.commit("anne", nil, expunge(1))
		w.retain("anne")
		w.thin(0)
		if err := history.CheckChunk(t.Context(), history.NewObjects(w.mem, 0), place(1, key)); err != nil {
			t.Errorf("rewritten %v: %v", rewritten, err)
		}
		for range 3 {
			w.later(21 * hour)
			w.thin(0)
		}
		if w.has(key) {
			t.Error("the pack still exists")
		}
	}
}

// The list is lost during a pass. The pack may be named by anybody from then on, so it is neither noted nor
// removed.
func TestListLostInTheNight(t *testing.T) {
	for _, removal := range []bool{false, true} {
		w := newWorld(t)
		key, _ := shared(w)
		lost := func(op, k string) bool { return op == "put" && strings.HasPrefix(k, "packs/") }
		if removal {
			w.collect()
			w.later(21 * hour)
			lost = func(op, k string) bool { return op == "list" && k == "packs/" }
		}
		before := w.note(key)
		f := faultstore.New(w.mem)
		w.store = f
		f.Add(faultstore.Fault{Count: 1, Match: lost, Call: func(string, string) { w.mem.Lose(history.CondemnedKey) }})
		if r, err := w.tryCollect(); err != nil || f.Struck() == 0 || !w.has(key) || w.note(key) != before {
			t.Errorf("removal %v: exists %v, note %d, %d before: %+v, %v", removal, w.has(key), w.note(key), before, r, err)
		}
	}
}

// Places disagree about an entry since the rewrite. The pack is kept.
func TestPlacesDifferInTheNight(t *testing.T) {
	w := newWorld(t)
	key, _ := shared(w)
	w.collect()
	wrong := place(1, key)
	wrong.Chunk = history.ChunkID{1}
	w.commitPlace("dave", wrong)
	if r := w.nextNight(); !w.has(key) || r.Keeping != 1 {
		t.Errorf("exists %v: %+v", w.has(key), r)
	}
}

// A note is damaged in the night. Nobody follows it while the pack exists, so nobody finds the damage, but it
// blocks every pass. A repair makes it again.
func TestNoteDamagedInTheNight(t *testing.T) {
	w := newWorld(t)
	key := w.pack(1, 2, 3)
	w.commit("anne", map[int]string{1: key})
	w.condemn(key)
	w.later(25 * hour)
	w.collect()
	note, _ := history.MovedKey(key)
	w.mem.Truncate(note, 50)
	w.later(21 * hour)
	if r, err := w.tryCollect(); err != nil || r.Blocking == 0 {
		t.Errorf("not blocked: %+v, %v", r, err)
	}
	w.repair(w.mem, "anne")
	for range 4 {
		w.later(21 * hour)
		if r, err := w.tryCollect(); err != nil || r.Blocking > 0 {
			t.Errorf("%+v, %v", r.Blocked, err)
		}
	}
	if w.has(key) {
		t.Error("the pack still exists")
	}
	w.check("anne")
}
