package maintenance_test

import (
	"errors"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// busy makes a backup with everything that retention handles.
func busy(t *testing.T) *past {
	w := newPast(t)
	w.policy.Daily, w.policy.Weekly, w.policy.DeletedFolders = 2, 2, 12*24*time.Hour
	w.create("inbox")
	w.create("big")
	w.create("gone")
	w.commitWith(5, "inbox", true)
	w.wide = true
	w.deliver("big", 40)
	w.checkpoint()
	w.deleteLater("gone")
	for day := range 22 {
		w.days(1)
		w.deliver("inbox", 2)
		w.expunge("inbox", 1)
		w.hours(1)
		w.deliver("big", 1)
		if day%9 == 0 {
			w.checkpoint()
		}
		if day%4 == 0 {
			w.merge()
		}
	}
	w.merge()
	return w
}

// Each request of a run fails in turn, or loses its answer, and then the run is repeated, as the
// next night does. Whatever has happened, every moment that must exist does.
func TestRetainWithFaults(t *testing.T) {
	w := busy(t)
	first := w.mustRetain() // so that there is a base, and something to remove before it
	if first.Cut.Number == 0 || first.Folders == 0 {
		t.Fatalf("%+v", first)
	}
	for range 3 {
		w.days(1)
		w.deliver("inbox", 1)
		w.expunge("inbox", 1)
		w.checkpoint()
		w.merge()
	}
	start, at := w.memory.Snapshot(), w.now
	tip := w.tip
	restart := func() {
		w.memory.Rollback(start, "", false)
		w.now, w.tip = at, tip
		for n := range w.dumps {
			if n > tip.Number {
				delete(w.dumps, n)
			}
		}
		w.must(w.fold.Close())
		var err error
		w.fold, err = w.found.Load(t.Context(), history.Moment{})
		w.must(err)
	}
	for _, lost := range []bool{false, true} {
		for n, step := every(24); ; n += step {
			restart()
			s := faultstore.New(w.memory)
			f := faultstore.Fault{Skip: n, Count: 1}
			if lost {
				f.After = faultstore.Lost
			} else {
				f.Before = faultstore.Lost
			}
			s.Add(f)
			w.store = s
			_, err := w.retain()
			w.store = w.memory
			if err == nil && s.Struck() == 0 {
				if n < 60 {
					t.Errorf("a run has only %d requests", n)
				}
				break
			}
			if err != nil && !errors.Is(err, faultstore.ErrLost) && !lost {
				t.Fatalf("request %d: %v", n, err)
			}
			w.catchUp()
			w.check()
			var cut uint64
			for range 3 { // a run may find a rest that waits for the next one
				w.days(1)
				w.hours(1)
				w.deliver("inbox", 1)
				w.merge()
				cut = max(cut, w.mustRetain().Cut.Number)
			}
			if cut == 0 {
				t.Fatalf("request %d: nothing was removed by the next runs", n)
			}
		}
	}
}
