package collection_test

import (
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A disk with some of the backups is not mounted, or a person has removed a backup by
// mistake: the packs of the backups that are missing stay.
func TestBackupsDisappear(t *testing.T) {
	for name, gone := range map[string]string{"one": "backups/user/bert/", "all": "backups/"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p, q := w.pack(1), w.pack(2)
			w.commit("anne", map[int]string{1: p})
			w.commit("bert", map[int]string{2: q})
			w.later(8 * day)
			w.collect()
			there := w.mem.Snapshot()
			for _, key := range w.mem.Keys(gone) {
				w.mem.Lose(key)
			}
			for range 4 {
				w.later(25 * hour)
				if r, err := w.tryCollect(); err != nil || r.Blocking == 0 {
					t.Errorf("%+v, %v", r, err)
				}
			}
			w.mem.Rollback(there, gone, true)
			w.later(25 * hour)
			w.collectFor(3)
			w.check("anne")
			w.check("bert")
			// A person confirms that they are not needed.
			for _, key := range w.mem.Keys("backups/user/bert/") {
				w.mem.Lose(key)
			}
			w.mem.Lose("collection.json")
			w.collectFor(4)
			if w.has(q) {
				t.Error("the pack of a backup that was removed on purpose is still there")
			}
		})
	}
}

// A partition with packs and without any backup is not believed, even in the first pass.
func TestNoBackups(t *testing.T) {
	w := newWorld(t)
	p := w.pack(1)
	w.later(8 * day)
	for range 3 {
		if r, err := w.tryCollect(); err != nil || r.Blocking == 0 {
			t.Errorf("%+v, %v", r, err)
		}
		w.later(25 * hour)
	}
	if !w.has(p) {
		t.Error("the pack was removed")
	}
}

// A backup that is set aside is not missing.
func TestSetAsideIsNotMissing(t *testing.T) {
	w := newWorld(t)
	w.commit("anne", map[int]string{1: ""})
	w.commit("bert", map[int]string{2: ""})
	w.collect()
	if _, _, err := w.found("bert").SetAside(t.Context(), "test", repository.LockOptions{Owner: "test", Now: w.options().Lock.Now}, nil); err != nil {
		t.Fatal(err)
	}
	w.later(day)
	w.collect()
	for _, key := range w.mem.Keys("set-aside/") {
		w.mem.Lose(key)
	}
	w.later(day)
	w.collect()
}

// The list is lost during the removals: writers may name packs that are no longer on it.
func TestListIsLostDuringRemoval(t *testing.T) {
	w := newWorld(t)
	w.commit("anne", map[int]string{9: ""})
	packs := []string{w.pack(1), w.pack(2), w.pack(3)}
	w.later(8 * day)
	w.collect()
	w.later(25 * hour)
	f := faultstore.New(w.mem)
	w.store = f
	f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "delete" && strings.HasPrefix(key, "packs/") }, Call: func(string, string) {
		w.mem.Lose(history.CondemnedKey)
	}})
	w.collect()
	left := 0
	for _, p := range packs {
		if w.has(p) {
			left++
		}
	}
	if left != 2 {
		t.Errorf("%d of 3 packs are left", left)
	}
}

// The list was lost since the last pass. Nothing is condemned or removed until a repair makes it again.
func TestListIsLost(t *testing.T) {
	w := newWorld(t)
	w.commit("anne", map[int]string{9: ""})
	p := w.pack(1)
	w.later(8 * day)
	if w.collect(); !w.condemned(p) {
		t.Fatal("not condemned")
	}
	w.mem.Lose(history.CondemnedKey)
	for range 2 {
		w.later(2 * day)
		out, err := collection.Collect(t.Context(), w.config(), w.options())
		if err != nil || out.Blocking != 1 || !strings.Contains(out.Blocked[0].Error(), "verify --repair") {
			t.Errorf("%+v, %v", out, err)
		}
		if !w.has(p) || w.mem.Bytes(history.CondemnedKey) != nil {
			t.Error("something has changed")
		}
	}
}

// A note leads to a pack that was rewritten in turn, and its note was not updated.
func TestChainOfNotes(t *testing.T) {
	w := newWorld(t)
	first, second, third := w.pack(1), w.pack(1), w.pack(1)
	entry := []string{message(1).GUID.String() + ".eml"}
	w.commit("anne", map[int]string{1: first})
	for _, n := range [][2]string{{first, second}, {second, third}} {
		if err := repository.NoteMoved(t.Context(), w.mem, false, w.now, n[0], entry, n[1]); err != nil {
			t.Fatal(err)
		}
	}
	w.mem.Lose(first)
	w.mem.Lose(second)
	w.later(8 * day)
	w.collectFor(3)
	if !w.has(third) {
		t.Error("the only pack with the message was removed")
	}
}

// Every backup was set aside, and all copies have disappeared. An earlier erasure does not explain that.
func TestCopiesDisappear(t *testing.T) {
	w := newWorld(t)
	p := w.pack(1)
	w.commit("anne", map[int]string{1: p})
	w.commit("bert", nil)
	w.erase("bert")
	w.later(8 * day)
	w.collect()
	w.aside("anne")
	w.later(day)
	w.collect()
	w.lost("set-aside/")
	w.later(day)
	w.condemn(p)
	w.nights(4, true)
	if !w.has(p) {
		t.Error("the pack was removed")
	}
}
