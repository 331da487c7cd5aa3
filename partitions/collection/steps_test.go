package collection_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// due prepares a partition with a pack to remove, one to condemn, and one to take off the list.
func due(w *world) (remove, condemn, used string) {
	used = w.pack(1)
	gone, remove := w.pack(2), w.pack(3)
	w.commit("anne", map[int]string{1: used})
	w.later(8 * day)
	w.collect() // condemns both
	if !w.condemned(gone) || !w.condemned(remove) {
		w.t.Fatal("not condemned")
	}
	w.later(8 * day)
	condemn = w.pack(4)
	w.later(8 * day)
	return remove, condemn, used
}

// Each request of a pass fails in turn, without effect or without an answer. A later pass
// completes the work.
func TestEachRequestFails(t *testing.T) {
	lost := errors.New("no answer")
	for _, how := range []string{"before", "after"} {
		for n, more := 0, true; more; n++ {
			t.Run(fmt.Sprintf("%s %d", how, n), func(t *testing.T) {
				more = false
				w := newWorld(t)
				remove, condemn, used := due(w)
				f := faultstore.New(w.mem)
				w.store = f
				fault := faultstore.Fault{Skip: n, Count: 1}
				fail := func(string, string) error {
					return &objstore.Error{Op: "test", Temporary: true, Err: lost}
				}
				if how == "before" {
					fault.Before = fail
				} else {
					fault.After = fail
				}
				f.Add(fault)
				_, _ = w.tryCollect()
				more = f.Struck() > 0
				f.Clear()
				w.now = w.now.Add(5 * hour)
				w.collect()
				w.later(5 * hour)
				w.collect()
				if w.has(remove) || !w.condemned(condemn) || w.condemned(remove) || !w.has(used) || w.condemned(used) {
					t.Errorf("removed %v, condemned %v, off the list %v, used %v", !w.has(remove), w.condemned(condemn), !w.condemned(remove), w.has(used))
				}
				w.check("anne")
			})
		}
	}
}

// A second collector runs whole between any two requests of the first, as if it had no lease.
func TestTwoCollectors(t *testing.T) {
	for n, more := 0, true; more; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			more = false
			w := newWorld(t)
			remove, condemn, used := due(w)
			f := faultstore.New(w.mem)
			inside := false
			f.Add(faultstore.Fault{Skip: n, Count: 1, Call: func(string, string) {
				inside = true
				lease := w.mem.Bytes(repository.CollectionKey)
				w.mem.Lose(repository.CollectionKey)
				w.store = w.mem
				w.cache = ""
				if _, err := w.tryCollect(); err != nil {
					t.Errorf("second collector: %v", err)
				}
				if lease != nil {
					w.put(repository.CollectionKey, lease)
				}
			}})
			first := w.config()
			first.Store = f
			o := w.options()
			_, _ = collection.Collect(t.Context(), first, o)
			more = inside
			w.store = w.mem
			w.later(5 * hour)
			w.collect()
			w.later(5 * hour)
			w.collect()
			if w.has(remove) || !w.condemned(condemn) || w.condemned(remove) || !w.has(used) || w.condemned(used) {
				t.Errorf("removed %v, condemned %v, off the list %v, used %v", !w.has(remove), w.condemned(condemn), !w.condemned(remove), w.has(used))
			}
			w.check("anne")
		})
	}
}

// The lease keeps a second collector out.
func TestLease(t *testing.T) {
	w := newWorld(t)
	u, err := repository.BeginCollection(t.Context(), w.config(), w.options().Lock)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.tryCollect(); !errors.Is(err, repository.ErrUpkeep) {
		t.Errorf("error %v", err)
	}
	if err := u.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.collect()
}

// A backup that appears in a part of the list that a pass has read already is safe: its new
// packs are young, and an old pack that it names is not on the list, or it would not name it.
func TestBackupBehindTheList(t *testing.T) {
	w := newWorld(t)
	old := w.pack(1)
	w.commit("zoe", map[int]string{2: ""})
	w.later(8 * day)
	f := faultstore.New(w.mem)
	w.store = f
	young := ""
	f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "list" && key == "packs/" }, Call: func(string, string) {
		young = w.pack(3)
		w.commit("anne", map[int]string{1: old, 3: young})
	}})
	w.collect()
	if !w.condemned(old) || w.condemned(young) {
		t.Fatalf("condemned: old %v, young %v", w.condemned(old), w.condemned(young))
	}
	w.later(25 * hour)
	w.collectFor(3)
	w.check("anne")
}

// A backup that is set aside, or that was moved here, still uses its packs.
func TestSetAsideAndMoved(t *testing.T) {
	w := newWorld(t)
	p, was, is := w.pack(1), w.pack(2), w.pack(2)
	w.commit("anne", map[int]string{1: p, 2: was})
	w.mem.Lose(was)
	f := w.found("anne")
	m := message(2)
	if err := repository.NoteMoved(t.Context(), w.mem, false, w.now, was, []string{m.GUID.String() + ".eml"}, is); err != nil {
		t.Fatal(err)
	}
	w.check("anne")
	w.later(8 * day)
	w.collectFor(3)
	w.check("anne")
	if _, _, err := f.SetAside(t.Context(), "test", repository.LockOptions{Owner: "test", Now: w.options().Lock.Now}, nil); err != nil {
		t.Fatal(err)
	}
	w.later(8 * day)
	w.collectFor(3)
	if !w.has(p) || !w.has(is) {
		t.Errorf("packs of a backup that was set aside: %v, behind a note: %v", w.has(p), w.has(is))
	}
}

// A dry run changes nothing.
func TestDryRun(t *testing.T) {
	w := newWorld(t)
	due(w)
	before := w.mem.Snapshot()
	o := w.options()
	o.DryRun = true
	r, err := collection.Collect(t.Context(), w.config(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Removed.Packs != 2 || r.Condemning.Packs != 1 || r.Removed.Bytes == 0 {
		t.Errorf("%+v", r)
	}
	if changed := w.mem.Changed(before); len(changed) > 0 {
		t.Errorf("changed: %v", changed)
	}
}
