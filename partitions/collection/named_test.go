package collection_test

import (
	"slices"
	"testing"

	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// named returns the keys of the packs that Name finds.
func (w *world) named(prefixes ...string) (keys []string, unreadable int) {
	w.t.Helper()
	n, err := collection.Name(w.t.Context(), w.store, prefixes)
	if err != nil {
		w.t.Fatal(err)
	}
	for p, err := range n.Packs() {
		if err != nil {
			w.t.Fatal(err)
		}
		keys = append(keys, history.PackKey(p))
	}
	if err := n.Close(); err != nil {
		w.t.Fatal(err)
	}
	return keys, n.Unreadable
}

func ordered(keys ...string) []string {
	slices.Sort(keys)
	return keys
}

// Name finds the packs of all moments and of several copies, and from notes only packs with an
// entry of the backup.
func TestName(t *testing.T) {
	w := newWorld(t)
	expunged, live, old, other := w.pack(1), w.pack(2), w.pack(3, 4), w.pack(9)
	w.commit("anne", map[int]string{1: expunged})
	w.commit("anne", nil, expunge(1))
	w.checkpoint("anne")
	w.commit("anne", map[int]string{2: live, 3: old})
	w.commit("bert", map[int]string{4: old, 9: other})
	to3, to4 := w.pack(3), w.pack(4)
	for n, to := range map[int]string{3: to3, 4: to4} {
		if err := repository.NoteMoved(t.Context(), w.mem, false, w.now, old, []string{message(n).GUID.String() + ".eml"}, to); err != nil {
			t.Fatal(err)
		}
	}
	anne, bert := "backups/user/anne/", "backups/user/bert/"
	if got, bad := w.named(anne); bad != 0 || !slices.Equal(got, ordered(expunged, live, old, to3)) {
		t.Errorf("anne: %q, %d unreadable", got, bad)
	}
	if got, bad := w.named(anne, bert); bad != 0 || !slices.Equal(got, ordered(expunged, live, old, to3, to4, other)) {
		t.Errorf("both: %q, %d unreadable", got, bad)
	}
	// Damage hides only the packs of that object.
	w.mem.Flip(history.LogKey("user/anne", 3), 40)
	if got, bad := w.named(anne); bad != 1 || !slices.Equal(got, ordered(expunged)) {
		t.Errorf("damaged: %q, %d unreadable", got, bad)
	}
	w.retain("bert")
	if got, bad := w.named(bert); bad != 0 || !slices.Equal(got, ordered(old, to4, other)) {
		t.Errorf("from a checkpoint: %q, %d unreadable", got, bad)
	}
	key, _ := history.MovedKey(old)
	w.mem.Truncate(key, 20)
	if got, bad := w.named(bert); bad != 1 || !slices.Equal(got, ordered(old, other)) {
		t.Errorf("damaged note: %q, %d unreadable", got, bad)
	}
}

// Condemn adds packs to the list, used or not, and keeps the time of the others.
func TestCondemn(t *testing.T) {
	w := newWorld(t)
	used, unused := w.pack(1), w.pack(2)
	w.commit("anne", map[int]string{1: used})
	condemn := func() {
		t.Helper()
		u, err := repository.BeginCollection(t.Context(), w.config(), w.options().Lock)
		if err != nil {
			t.Fatal(err)
		}
		n, err := collection.Name(t.Context(), w.store, []string{"backups/user/anne/"})
		if err == nil {
			err = collection.Condemn(t.Context(), w.config(), u, n.Packs())
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := u.End(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	condemn()
	if !w.condemned(used) || w.condemned(unused) {
		t.Fatalf("condemned: used %v, unused %v", w.condemned(used), w.condemned(unused))
	}
	was := w.mem.Bytes(history.CondemnedKey)
	w.later(hour)
	condemn()
	if string(was) != string(w.mem.Bytes(history.CondemnedKey)) {
		t.Error("a second time changed the list")
	}
	w.later(8 * day)
	w.collectFor(4)
	if w.has(unused) {
		t.Error("the unused pack still exists")
	}
	w.check("anne")
}

// While a pack waits for its removal, a note leads to it, and its own note to the next one. Each of them has
// the body.
func TestNameInTheNight(t *testing.T) {
	w := newWorld(t)
	first := w.pack(1, 2, 3)
	w.commit("anne", map[int]string{1: first})
	w.commit("bert", map[int]string{2: first})
	w.condemn(first)
	w.later(25 * hour)
	w.collect()
	w.nextNight()
	second := w.packs()
	if len(second) != 1 || w.has(first) {
		t.Fatalf("packs %q", second)
	}
	w.condemn(second...)
	w.later(25 * hour)
	w.collect()
	packs := w.packs()
	if got, bad := w.named("backups/user/bert/"); len(packs) != 2 || bad != 0 || !slices.Equal(got, ordered(append(packs, first)...)) {
		t.Errorf("%q, %d unreadable; the packs are %q", got, bad, packs)
	}
}
