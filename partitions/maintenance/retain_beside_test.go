package maintenance_test

import (
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// again is a backup that has been through retention once, and is due again.
func again(t *testing.T) (w *past, start memstore.Snapshot) {
	w = newPast(t)
	w.policy.Daily = 2
	w.create("inbox")
	for range 3 {
		w.commitWith(2, "inbox", true)
	}
	for day := range 18 {
		w.days(1)
		w.deliver("inbox", 1)
		if day%3 == 0 {
			w.expunge("inbox", 1)
			w.checkpoint()
		}
		w.merge()
	}
	w.mustRetain()
	for range 3 {
		w.days(1)
		w.deliver("inbox", 1)
		w.checkpoint()
		w.merge()
	}
	return w, w.memory.Snapshot()
}

// restart goes back to the snapshot, and forgets the commits after it.
func (w *past) restart(start memstore.Snapshot, tip uint64) {
	w.t.Helper()
	w.memory.Rollback(start, "", false)
	for n := range w.dumps {
		if n > tip {
			delete(w.dumps, n)
		}
	}
	w.must(w.fold.Close())
	var err error
	w.fold, err = w.found.Load(w.t.Context(), history.Moment{})
	w.must(err)
	w.tip = w.fold.Tip()
}

// between returns a store that calls fn before its n-th request.
func between(s *memstore.Store, n int, fn func()) *faultstore.Store {
	f := faultstore.New(s)
	f.Add(faultstore.Fault{Skip: n, Count: 1, Call: func(string, string) { fn() }})
	return f
}

// A whole run of retention falls between any two requests of a reader. The reader has no problem.
func TestReadersBesideRetention(t *testing.T) {
	w, start := again(t)
	tip := w.tip.Number
	step := 1
	if short() {
		step = 3
	}
	for name, read := range map[string]func(f *repository.Found){
		"newest": func(f *repository.Found) {
			m, err := f.Load(t.Context(), history.Moment{Now: w.now})
			w.must(err)
			defer m.Close()
			if got := w.dump(m); m.Tip().Number >= tip && got != w.dumps[m.Tip().Number] {
				t.Errorf("another state at commit %d", m.Tip().Number)
			}
			w.checkBodies(m, history.NewObjects(f.Partition.Store, 0))
		},
		"a moment that is kept": func(f *repository.Found) {
			n := tip - 8
			m, err := f.Load(t.Context(), history.Moment{Number: n, Now: w.now, Tolerant: true})
			w.must(err)
			defer m.Close()
			if got := w.dump(m); got != w.dumps[n] || len(m.Gaps()) > 0 {
				t.Errorf("another state at commit %d, with the gaps %v", n, m.Gaps())
			}
			w.checkBodies(m, history.NewObjects(f.Partition.Store, 0))
		},
		"verify": func(f *repository.Found) {
			_, err := verify.Run(t.Context(), f, verify.Options{Report: func(p verify.Problem) { t.Errorf("%s", p) }})
			w.must(err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for n, ran := 0, true; ran; n += step {
				w.restart(start, tip)
				ran = false
				f := *w.found
				f.Partition.Store = between(w.memory, n, func() {
					ran = true
					if done, err := w.retain(); err != nil || done.Log.Objects == 0 {
						t.Errorf("%+v, %v", done, err)
					}
					w.catchUp()
				})
				read(&f)
				if t.Failed() {
					t.Fatalf("retention ran before request %d of the reader", n)
				}
			}
		})
	}
}

// A writer that has slept until retention had removed its number puts a commit there. Readers and
// verify --repair ignore it, and retention waits until it is removed.
func TestStrayCommitBeforeTheLog(t *testing.T) {
	w, _ := again(t)
	b := history.NewBuilder(history.Header{Backup: anne, Number: 2, Time: w.times[2], Clock: w.times[2]}, pack.Options{})
	w.must(b.Event(&history.SubEvent{User: "anne", Name: "user.anne", Subscribed: true}))
	won, err := w.found.PutBuilt(t.Context(), b)
	w.must(err)
	if !won {
		t.Fatal("commit 2 exists")
	}
	w.put(history.SegmentKey(anne, 4, 6), w.get(history.LogKey(anne, 2)))
	w.check0()
	_, err = w.retain()
	if err == nil || !strings.Contains(err.Error(), "contradict each other") {
		t.Errorf("retention: %v", err)
	}
	found := 0
	report := func(p verify.Problem) {
		if !strings.Contains(p.Text, "so readers ignore") && !strings.Contains(p.Text, "does not continue the log") {
			t.Errorf("verify: %s", p)
		}
		found++
	}
	_, err = verify.Run(t.Context(), w.found, verify.Options{Report: report})
	w.must(err)
	if found != 2 {
		t.Errorf("verify has reported %d objects, want 2", found)
	}
	tip := w.tip.Number
	_, err = verify.Repair(t.Context(), w.found, verify.RepairOptions{Problem: func(verify.Problem) {}, Report: func(c verify.Change) {
		if c.Outcome != verify.Unchanged {
			t.Errorf("repair: %s", c)
		}
	}, Lock: w.options().Lock})
	w.must(err)
	w.catchUp()
	if got := w.fold.Bridged(); len(got) > 0 {
		t.Errorf("commits after %d bridge %v", tip, got)
	}
	w.must(w.memory.Delete(t.Context(), history.LogKey(anne, 2)))
	w.must(w.memory.Delete(t.Context(), history.SegmentKey(anne, 4, 6)))
	w.mustRetain()
}

// Two runs of retention, of which one has lost its lease without noticing, do no harm.
func TestRetainTwice(t *testing.T) {
	w, start := again(t)
	tip := w.tip.Number
	step := 1
	if short() {
		step = 7
	}
	for n, ran := 4, true; ran; n += step {
		w.restart(start, tip)
		ran = false
		w.store = between(w.memory, n, func() {
			ran = true
			w.must(w.memory.Delete(t.Context(), repository.UpkeepKey(anne)))
			w.store = w.memory
			_, err := w.retain()
			w.must(err)
		})
		_, err := w.retain()
		w.store = w.memory
		if !ran && err != nil {
			t.Fatal(err)
		}
		w.catchUp()
		w.check()
		if t.Failed() {
			t.Fatalf("the second run came before request %d of the first one", n)
		}
	}
}

// Somebody who reads a checkpoint that a run removes can read its blocks until the next run.
func TestReaderOfRemovedCheckpoint(t *testing.T) {
	w := newPast(t)
	w.create("inbox")
	for day := range 30 {
		w.days(1)
		w.deliver("inbox", 1)
		if day == 4 {
			w.checkpoint()
		}
		w.merge()
	}
	n := w.checkpoints()[0]
	m, err := w.found.Load(t.Context(), history.Moment{Number: n})
	w.must(err)
	defer m.Close()
	if done := w.mustRetain(); done.Checkpoints.Objects != 1 {
		t.Fatalf("%+v", done)
	}
	if w.dump(m) != w.dumps[n] {
		t.Error("another state")
	}
}
