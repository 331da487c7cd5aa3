package erasure_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Each request of the erasure, and of what compact does later, fails in turn, without effect or without an answer.
func TestMessagesWithFaults(t *testing.T) {
	for _, how := range []string{"before", "after"} {
		for _, what := range []string{"erase", "finish"} {
			t.Run(how+" "+what, func(t *testing.T) {
				t.Parallel()
				n, struck := within(35), 0
				for more := true; more; n += 2 * sparsely() {
					w := newLetters(t)
					run := func() error { _, err := w.tryMessages(); return err }
					again := func() { w.later(hour); w.mustMessages() }
					if what == "finish" {
						w.mustMessages()
						w.later(15 * hour)
						run, again = w.tryFinish, func() { w.later(15 * hour) }
					}
					err := w.failing(n, how, &more, run)
					if more {
						struck++
					}
					if err != nil {
						again()
					}
					w.at(history.Moment{Number: 1})
					for range 2 {
						w.later(15 * hour)
						w.finish()
					}
					w.nowhere()
					if t.Failed() {
						t.Fatalf("request %d: %v", n, err)
					}
				}
				if n < 60 || struck == 0 {
					t.Errorf("only %d requests, %d have failed", n, struck)
				}
			})
		}
	}
}

// sparsely is the distance between the requests that fail, and half of it is the first one. With the race detector, few tests have more
// than one: without it, a history costs a tenth.
func sparsely() int {
	if raceEnabled && !*everyRequest {
		return 1000
	}
	return stride()
}

// within is the first change of a run at which something happens. With the race detector it is the only one.
func within(n int) int {
	if raceEnabled && !*everyRequest {
		return n
	}
	return 0
}

// failing runs fn while request n fails.
func (w *letters) failing(n int, how string, more *bool, fn func() error) error {
	f := faultstore.New(w.mem)
	w.store = f
	fault := faultstore.Fault{Skip: n, Count: 1}
	fail := func(string, string) error {
		return &objstore.Error{Op: "test", Temporary: true, Err: faultstore.ErrLost}
	}
	if how == "before" {
		fault.Before = fail
	} else {
		fault.After = fail
	}
	f.Add(fault)
	err := fn()
	*more = f.Struck() > 0
	w.store = w.mem
	return err
}

// Between any two changes, the writer commits, another run begins, a collector runs, or a slow daemon puts a checkpoint.
func TestMessagesBesideOthers(t *testing.T) {
	for name, other := range map[string]func(w *letters, late *history.Mem) error{
		"writer": func(w *letters, _ *history.Mem) error {
			w.commit("anne", map[int]string{108: ""})
			return nil
		},
		"erasure": func(w *letters, _ *history.Mem) error {
			store := w.store
			w.store = w.mem
			defer func() { w.store = store }()
			_, err := w.tryMessagesNow()
			return err
		},
		"collector": func(w *letters, _ *history.Mem) error {
			o := w.collectOptions()
			o.Lock.Wait = false
			_, err := collection.Collect(t.Context(), repository.Config{Name: "p", Location: "memory", Store: w.mem}, o)
			return err
		},
		"daemon": func(_ *letters, late *history.Mem) error {
			_, err := late.AddCheckpoint(t.Context(), pack.Options{}, func() error { return nil })
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, more, struck := within(12), true, 0
			for ; more; n += sparsely() {
				more = false
				w := newLetters(t)
				late, err := w.found("anne").Load(t.Context(), history.Moment{})
				if err != nil {
					t.Fatal(err)
				}
				f := faultstore.New(w.mem)
				w.store = f
				var failed error
				changes := func(op, _ string) bool { return op == "put" || op == "delete" }
				f.Add(faultstore.Fault{Skip: n, Count: 1, Match: changes, Call: func(string, string) {
					more = true
					struck++
					failed = other(w, late)
				}})
				_, err = w.tryMessages()
				f.Clear()
				w.store = w.mem
				_ = late.Close()
				if failed != nil && !errors.Is(failed, repository.ErrUpkeep) {
					t.Fatal(failed)
				}
				if err != nil {
					w.later(hour)
					w.mustMessages()
				}
				for range 3 {
					w.later(15 * hour)
					w.finish()
				}
				w.nowhere()
				if t.Failed() {
					t.Fatalf("change %d: %v", n, err)
				}
			}
			if n < 15 || struck == 0 {
				t.Errorf("only %d changes, %d of them beside others", n, struck)
			}
		})
	}
}

func (w *letters) tryMessagesNow() (any, error) {
	was := w.noWait
	w.noWait = true
	defer func() { w.noWait = was }()
	return w.tryMessages()
}

// Requests of a dead process arrive after the erasure: the commit with a body inline, and a checkpoint with the places.
// Compaction removes the commit when it is old enough, and the erasure waits for that.
func TestMessagesLateObjects(t *testing.T) {
	first := history.LogKey(anne, 1)
	w := newLetters(t)
	commit := w.mem.Bytes(first)
	late, err := w.found("anne").Load(t.Context(), history.Moment{Number: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	w.mustMessages()
	if w.has(first) {
		t.Fatal("the commit was not merged")
	}
	w.later(hour)
	w.put(first, commit)
	if _, err := late.WriteCheckpoint(t.Context(), pack.Options{}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.later(15 * hour)
		w.finish()
	}
	if len(w.open()) == 0 || len(w.bodies()) == 0 {
		t.Fatal("it did not wait for the commit")
	}
	w.later(3 * day)
	w.merge()
	if w.has(first) {
		t.Fatal("the commit is left")
	}
	for range 3 {
		w.later(15 * hour)
		w.finish()
	}
	w.nowhere()
}

// merge does what compact does with the log of anne.
func (w *letters) merge() {
	w.t.Helper()
	w.mergeOf(w.remains())
}

func (w *letters) mergeOf(f *repository.Found) {
	w.t.Helper()
	o := w.historyOptions().Forget.Merge
	u, err := repository.BeginUpkeep(w.t.Context(), f, w.lock())
	if err != nil {
		w.t.Fatal(err)
	}
	m := maintenance.NewMerger(w.config(), o)
	job := m.Add(w.t.Context(), f, u)
	if err := errors.Join(m.Flush(w.t.Context()), job.Err, u.End(w.t.Context())); err != nil {
		w.t.Fatal(err)
	}
}

// The same message arrives again while its erasure waits, from the same pack or as new bytes. It is new mail, and stays;
// the moments before the erasure do not get it back.
func TestMessagesArriveAgain(t *testing.T) {
	for _, where := range []string{"pack", "inline", "merged"} {
		if raceEnabled && where != "merged" {
			continue
		}
		t.Run(where, func(t *testing.T) {
			w := newLetters(t)
			w.mustMessages()
			before, err := w.found("anne").Log().Newest(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			w.later(hour)
			key := ""
			if where == "pack" {
				key = w.pack(1)
			}
			w.commit("anne", map[int]string{1: key})
			w.checkpoint("anne")
			if where == "merged" { // before the rest of the erasure
				w.commit("anne", map[int]string{109: ""})
				w.later(4 * day)
				w.merge()
			}
			for range 3 {
				w.later(25 * hour)
				w.merge()
				w.finish()
			}
			for n := uint64(1); n <= before; n++ {
				w.at(history.Moment{Number: n})
			}
			w.numbers = []int{3, 4}
			w.check2("anne", 1, 101, 102, 105, 106, 107)
			w.gone2(before + 1)
			if left := w.bodies(); len(left) > 0 {
				t.Errorf("a body is in %q", left)
			}
			if open := w.open(); len(open) > 0 {
				t.Errorf("%+v", open[0])
			}
		})
	}
}

// gone2 checks the moments from commit n on.
func (w *letters) gone2(n uint64) {
	w.t.Helper()
	newest, err := w.found("anne").Log().Newest(w.t.Context(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	for ; n <= newest; n++ {
		w.at(history.Moment{Number: n})
		w.at(history.Moment{Number: n, FromLog: true})
	}
}

// check2 checks that live records of the newest state can be restored.
func (w *letters) check2(user string, numbers ...int) {
	w.t.Helper()
	m, err := w.found(user).Load(w.t.Context(), history.Moment{})
	if err != nil {
		w.t.Fatal(err)
	}
	defer m.Close()
	objects := history.NewObjects(w.mem, 0)
	for _, n := range numbers {
		st, err := m.Message(message(n).GUID)
		if err != nil || st == nil {
			w.t.Fatal(st, err)
		}
		r, err := history.OpenMessage(w.t.Context(), objects, st, m.Places)
		if err != nil {
			w.t.Errorf("message %d: %v", n, err)
			continue
		}
		_ = r.Close()
	}
}

// Another user has the same message, in the same pack. It stays for that user.
func TestMessagesOfOthers(t *testing.T) {
	w := newLetters(t)
	w.commit("bert", map[int]string{1: w.private})
	w.mustMessages()
	for range 2 {
		w.later(15 * hour)
		w.finish()
	}
	w.check2("bert", 1, 103, 104)
	w.at(history.Moment{Number: 1})
	if open := w.open(); len(open) > 0 {
		t.Errorf("%+v", open[0])
	}
	if left := w.bodies(); len(left) != 1 {
		t.Errorf("the body is in %q", left)
	}
}

// readable reads a message at commit 1. want is the expected error.
func (w *letters) readable(user string, g cyrus.GUID, want any) {
	w.t.Helper()
	w.readableAt(user, 1, g, want)
}

// readableAt is readable at commit n.
func (w *letters) readableAt(user string, n uint64, g cyrus.GUID, want any) {
	w.t.Helper()
	m, err := w.found(user).Load(w.t.Context(), history.Moment{Number: n})
	if err != nil {
		w.t.Fatal(err)
	}
	defer m.Close()
	st, err := m.Message(g)
	if err != nil || st == nil {
		w.t.Fatal(st, err)
	}
	r, err := history.OpenMessage(w.t.Context(), history.NewObjects(w.mem, 0), st, m.Places)
	if err == nil {
		_ = r.Close()
	}
	if (want == nil) != (err == nil) || want != nil && !errors.As(err, want) {
		w.t.Errorf("message %s: %v", fmt.Sprint(g), err)
	}
}
