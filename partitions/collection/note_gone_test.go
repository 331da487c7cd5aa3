package collection_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// A store answers once that a note does not exist, while a pack that it leads to is rewritten. One answer does not decide
// that nobody needs the entries. If the list shows that the note was removed, no reader follows it, and nothing blocks.
func TestNoteIsGoneInTheCount(t *testing.T) {
	w := newWorld(t)
	former, sparse := w.pack(1), w.pack(1, 2, 3, 4, 5, 6, 7, 8)
	w.commit("anne", map[int]string{2: sparse})
	w.commit("bert", map[int]string{1: former})
	w.noteMoved(former, sparse, 1)
	w.mem.Lose(former)
	w.later(8 * day)
	night := func(s objstore.Store) *collection.Result {
		o := w.options()
		o.Cache, o.RewriteGain = "", 1
		part := w.config()
		part.Store = s
		r, err := collection.Collect(t.Context(), part, o)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	night(w.mem)
	w.later(25 * hour)
	start, at := w.mem.Snapshot(), w.now
	blocked := 0
	for _, shown := range []bool{false, true} {
		for n, struck := 0, true; struck; n++ {
			w.mem.Rollback(start, "", false)
			w.now, struck = at, false
			s := faultstore.New(w.mem)
			s.Add(faultstore.Fault{Match: func(op, key string) bool { return op == "get" && key == noteOf(former) }, Skip: n, Count: 1, Before: func(string, string) error {
				struck = true
				if shown {
					w.list(history.RetiredNote{Pack: history.PackID(packID(t, former)), Removed: w.now})
				}
				return objstore.ErrNotExist
			}})
			r := night(s)
			for _, b := range r.Blocked {
				if b.Key == former && !shown {
					blocked++
				} else if b.Key == former {
					t.Errorf("request %d: blocked, although the list shows the removal: %v", n, b)
				}
			}
			if shown {
				continue
			}
			for range 3 {
				w.later(25 * hour)
				night(w.mem)
			}
			w.check("bert")
			w.check("anne")
			if t.Failed() {
				t.Fatalf("request %d", n)
			}
		}
	}
	if blocked != 1 {
		t.Errorf("the second count has blocked %d times, want once", blocked)
	}
}

// packID returns the hash in the key of a pack.
func packID(t *testing.T, key string) (p collection.Pack) {
	t.Helper()
	if err := p.UnmarshalText([]byte(key[len("packs/ab/"):][:64])); err != nil {
		t.Fatal(err)
	}
	return p
}

// list puts the list of notes that nothing needs.
func (w *world) list(lines ...history.RetiredNote) {
	w.t.Helper()
	var b bytes.Buffer
	to, err := history.NewRetiredWriter(&b, time.Time{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, n := range lines {
		err = errors.Join(err, to.Add(n))
	}
	if err = errors.Join(err, to.Close()); err != nil {
		w.t.Fatal(err)
	}
	w.put(history.RetiredKey, b.Bytes())
}

// A request to remove a damaged note may be on its way: the repair fails before it puts the note. Repeated when the request
// has arrived or is over, it makes the note again. If the note ends, it stays.
func TestRepairOfNoteBesideItsRemoval(t *testing.T) {
	damaged := func(t *testing.T, line func(w *world) history.RetiredNote) (w *world, former string) {
		w = newWorld(t)
		_, former = shared(w)
		w.commit("dave", map[int]string{6: former})
		n := line(w)
		n.Pack = history.PackID(packID(t, former))
		w.list(n)
		w.mem.Flip(noteOf(former), 3)
		return w, former
	}
	t.Run("removed", func(t *testing.T) {
		w, former := damaged(t, func(w *world) history.RetiredNote { return history.RetiredNote{Removed: w.now.Add(-time.Hour).UTC()} })
		before := w.mem.Bytes(noteOf(former))
		o := verify.RepairOptions{Lock: w.options().Lock, Others: []repository.Config{w.config()}, Problem: func(verify.Problem) {}, Report: func(verify.Change) {}}
		if _, err := verify.Repair(t.Context(), w.withInfo("carl"), o); !errors.Is(err, repository.ErrNoteEnds) {
			t.Errorf("%v, want %v", err, repository.ErrNoteEnds)
		}
		if !bytes.Equal(w.mem.Bytes(noteOf(former)), before) {
			t.Error("the note was put")
		}
		w.later(2 * hour)
		w.repair(w.mem, "carl")
		w.check("carl")
		w.check("dave")
	})
	t.Run("ending", func(t *testing.T) {
		w, former := damaged(t, func(w *world) history.RetiredNote {
			return history.RetiredNote{Unused: w.now.Add(-40 * day).UTC(), Ending: w.now.Add(-25 * hour).UTC()}
		})
		w.repair(w.mem, "carl")
		if n, listed := w.retired()[former]; listed {
			t.Errorf("still on the list: %+v", n)
		}
		w.check("carl")
		w.check("dave")
	})
}
