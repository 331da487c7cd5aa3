package maintenance_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
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
	for name, read := range map[string]func(f *repository.Found){
		"newest": func(f *repository.Found) {
			m, err := f.Load(t.Context(), history.Moment{Now: w.now})
			w.must(err)
			defer m.Close()
			if got := w.dump(m); m.Tip().Number >= tip && got != w.dumps[m.Tip().Number] {
				t.Errorf("another state at commit %d", m.Tip().Number)
			}
			w.checkBodies(m, newBodies(f.Partition.Store))
		},
		"a moment that is kept": func(f *repository.Found) {
			n := tip - 8
			m, err := f.Load(t.Context(), history.Moment{Number: n, Now: w.now, Tolerant: true})
			w.must(err)
			defer m.Close()
			if got := w.dump(m); got != w.dumps[n] || len(m.Gaps()) > 0 {
				t.Errorf("another state at commit %d, with the gaps %v", n, m.Gaps())
			}
			w.checkBodies(m, newBodies(f.Partition.Store))
		},
		"verify": func(f *repository.Found) {
			_, err := verify.Run(t.Context(), f, verify.Options{Report: func(p verify.Problem) { t.Errorf("%s", p) }})
			w.must(err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, step := every(5)
			for ran := true; ran; n += step {
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

// A stray commit can have exactly the number of the checkpoint that retention has left. Then nothing is
// missing between it and the log. Readers still ignore it, the next nights remove it, and
// retention continues.
func TestStrayCommitAtTheCheckpoint(t *testing.T) {
	for name, put := range map[string]func(w *past, n uint64){
		"a commit":          func(w *past, n uint64) { w.stray(n) },
		"two commits":       func(w *past, n uint64) { w.stray(n - 1); w.stray(n) },
		"beside a hole":     func(w *past, n uint64) { w.stray(2); w.stray(n) },
		"a foreign segment": func(w *past, n uint64) { w.foreignSegment(n) },
	} {
		t.Run(name, func(t *testing.T) {
			w, cut := shortened(t)
			put(w, cut)
			w.check0()
			m, err := w.found.Load(t.Context(), history.Moment{FromLog: true})
			w.must(err)
			if got := w.dump(m); got != w.dumps[w.tip.Number] {
				t.Errorf("from the log:\n%s", got)
			}
			w.must(m.Close())
			w.days(1)
			if done, err := w.retain(); err == nil || done.Log.Objects > 0 || !strings.Contains(err.Error(), history.LogPrefix(anne)) || !strings.Contains(err.Error(), "compact removes it") {
				t.Errorf("before it is old enough: %+v, %v", done, err)
			}
			w.days(4)
			w.compact()
			if done := w.mustRetain(); done.Cut.Number <= cut {
				t.Errorf("retention has not continued: %+v", done)
			}
			w.checkVerify()
		})
	}
}

// An interrupted retention has left commits before its checkpoint, and a stray commit arrives before them.
func TestStrayCommitBeforeAnInterruptedRetention(t *testing.T) {
	w, cut := shortened(t)
	w.days(9)
	w.deliver("inbox", 1)
	w.days(3)
	f := faultstore.New(w.memory)
	f.Add(faultstore.Fault{Skip: 2, Before: faultstore.Denied, Match: func(op, key string) bool {
		return op == "delete" && strings.HasPrefix(key, history.LogPrefix(anne))
	}})
	w.store = f
	if _, err := w.retain(); err == nil {
		t.Fatal("retention was not interrupted")
	}
	w.store = w.memory
	w.catchUp()
	first, err := w.log().First(t.Context())
	w.must(err)
	if first != cut+3 {
		t.Fatalf("the log begins with commit %d, want %d", first, cut+3)
	}
	w.stray(first - 1)
	w.days(4)
	w.compact()
	w.mustRetain()
	w.checkVerify()
}

// stray puts a commit that no log names.
func (w *past) stray(n uint64) {
	w.t.Helper()
	b := history.NewBuilder(history.Header{Backup: anne, Number: n, Prev: strings.Repeat("ab", 32), Time: w.times[n], Clock: w.times[n], Host: "late"}, pack.Options{})
	w.must(b.Event(&history.SubEvent{User: "anne", Name: "user.anne", Subscribed: true}))
	won, err := w.found.PutBuilt(w.t.Context(), b)
	w.must(err)
	if !won {
		w.t.Fatalf("commit %d exists", n)
	}
}

// foreignSegment puts a segment of another history that ends with commit n.
func (w *past) foreignSegment(n uint64) {
	w.t.Helper()
	w.stray(n)
	b := history.NewSegmentBuilder(anne, pack.Options{})
	for c, err := range w.log().Commits(w.t.Context(), n, n) {
		w.must(err)
		w.must(b.Add(c, func(p history.Place) (history.Place, error) { return p, nil }))
	}
	key, object, err := b.Finish()
	w.must(err)
	w.put(key, object)
	w.must(w.memory.Delete(w.t.Context(), history.LogKey(anne, n)))
}

// compact merges as ctl_backups does, which also removes stray objects.
func (w *past) compact() {
	w.t.Helper()
	u, err := repository.BeginUpkeep(w.t.Context(), w.found, w.options().Lock)
	w.must(err)
	m := maintenance.NewMerger(w.found.Partition, maintenance.MergeOptions{PackSize: 1 << 20, Before: maintenance.LastDay(w.now, maintenance.MinLogAge)})
	job := m.Add(w.t.Context(), w.found, u)
	w.must(errors.Join(m.Flush(w.t.Context()), job.Err, u.End(w.t.Context())))
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
