package erasure_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// past is a world where anne has deleted messages 1, 3 and 4 before until: 1 from a pack of her own,
// 3 from a pack that bert's message 103 is in, and 200, which nobody names; 4 was inline. 101 and 102 stay.
type past struct {
	*world
	until               time.Time
	private, mixed, own string
}

func newPast(t *testing.T) *past {
	t.Helper()
	first.Lock()
	defer first.Unlock()
	if first.past == nil {
		first.past = makePast(t)
	}
	w := *first.past
	w.world = &world{t: t, now: w.now}
	w.mem = first.mem.Clone(w.here)
	w.store = w.mem
	return &w
}

// first is the past of the first test. Each other one gets a copy, because many tests begin with it.
var first struct {
	sync.Mutex
	*past
}

func makePast(t *testing.T) *past {
	w := &past{world: newWorld(t)}
	w.private, w.mixed, w.own = w.pack(1, 101), w.pack(3, 103, 200), w.pack(105)
	w.commit("anne", map[int]string{1: w.private, 101: w.private, 3: w.mixed, 4: "", 102: "", 105: w.own})
	w.commit("bert", map[int]string{103: w.mixed, 104: ""})
	w.later(day)
	w.checkpoint("anne")
	w.commit("anne", nil, &history.ExpungeEvent{UniqueID: "inbox", UIDs: []uint32{1, 3, 4}})
	w.later(3 * day)
	w.commit("anne", map[int]string{106: ""})
	w.checkpoint("anne")
	w.later(5 * day)
	w.until = maintenance.LastDay(w.now, 2*day)
	w.commit("anne", map[int]string{107: ""})
	return w
}

func (w *past) historyOptions() erasure.HistoryOptions {
	o := erasure.HistoryOptions{By: "root", Reason: "request"}
	o.Forget.Lock = w.lock()
	o.Forget.LogMinAge = 2 * day
	o.Forget.Merge = maintenance.MergeOptions{PackSize: 1 << 20, Before: maintenance.LastDay(w.now, 2*day)}
	o.Forget.Until = w.until
	return o
}

func (w *past) tryHistory() (*erasure.Done, error) {
	s, err := erasure.LookAtHistory(w.t.Context(), []repository.Config{w.config()}, anneName, w.until, w.here)
	if err != nil {
		return nil, err
	}
	o := w.historyOptions()
	o.Forget.Until = s.Until
	return erasure.EraseHistory(w.t.Context(), s, o)
}

func (w *past) mustHistory() *erasure.Done {
	w.t.Helper()
	done, err := w.tryHistory()
	if err != nil {
		w.t.Fatal(err)
	}
	return done
}

// finish does what compact does at now.
func (w *past) finish() {
	w.t.Helper()
	if err := w.tryFinish(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *past) tryFinish() error {
	w.t.Helper()
	open, err := erasure.Open(w.t.Context(), w.config())
	if err != nil {
		return err
	}
	var due []*repository.Erasure
	for _, e := range open {
		if e.State == repository.ErasureDone {
			due = append(due, e)
		}
		if is, _ := erasure.Due(e, w.now); !is {
			continue
		}
		swept, err := erasure.SweepHistory(w.t.Context(), w.config(), e, w.historyOptions().Forget)
		if err != nil {
			return err
		}
		if swept.Complete() {
			due = append(due, e)
		}
	}
	o := w.collectOptions()
	o.Erase = erasure.Packs(w.t.Context(), w.config(), due)
	o.Keep = erasure.Keep(w.config(), due, w.here)
	if err := erasure.Sweep(w.t.Context(), w.config(), due, w.lock()); err != nil {
		return err
	}
	r, err := collection.Collect(w.t.Context(), w.config(), o)
	if err == nil {
		_, err = erasure.Settle(w.t.Context(), w.config(), due, r, w.lock())
	}
	if err == nil && (r.Blocking > 0 || r.Keeping > 0 && r.Retained.IsZero() && !r.LegalHold) {
		err = fmt.Errorf("%+v", r)
	}
	return err
}

// forgotten checks that the history is gone, and the rest is there.
func (w *past) forgotten() {
	w.t.Helper()
	w.check("anne", 101, 102, 105, 106, 107)
	w.check("bert", 103, 104)
	for _, user := range []string{"anne", "bert"} {
		_, err := verify.Run(w.t.Context(), w.found(user), verify.Options{Report: func(p verify.Problem) { w.t.Errorf("verify %s: %s", user, p) }})
		if err != nil {
			w.t.Error(err)
		}
	}
	m, err := w.found("anne").Load(w.t.Context(), history.Moment{Number: 1})
	if !errors.Is(err, history.ErrNotKept) {
		w.t.Errorf("commit 1: %v", err)
	}
	if err == nil {
		_ = m.Close()
	}
}

// complete checks that the needle is nowhere, and the record is complete.
func (w *past) complete() {
	w.t.Helper()
	w.forgotten()
	if left := w.needles(); len(left) > 0 {
		w.t.Errorf("the needle is in %q", left)
	}
	if !w.has(w.own) {
		w.t.Error("a pack without erased messages was rewritten")
	}
	if open := w.open(); len(open) > 0 {
		w.t.Errorf("%+v", open[0])
	}
}

// After the erasure, no object or version has messages that were deleted before, and the rest is unchanged.
func TestEraseHistory(t *testing.T) {
	w := newPast(t)
	s, err := erasure.LookAtHistory(t.Context(), []repository.Config{w.config()}, anneName, w.until, w.here)
	if err != nil || s.Messages != 3 || s.Bytes == 0 || s.Held != nil || s.Reach.Every.IsZero() {
		t.Fatalf("%+v, %v", s, err)
	}
	done := w.mustHistory()
	if done.State != repository.ErasurePending || !done.Before.Equal(w.until) || done.Reason != "request" || done.Objects == 0 {
		t.Errorf("%+v", done.Erasure)
	}
	w.forgotten()
	for _, key := range w.needles() {
		if !strings.HasPrefix(key, "packs/") && !strings.HasPrefix(key, "backups/user/anne/records/") {
			t.Errorf("the needle is in %s", key)
		}
	}
	if w.condemned(w.own) || !w.condemned(w.private) || !w.condemned(w.mixed) {
		t.Error("the wrong packs are condemned")
	}
	if is, _ := erasure.Due(w.open()[0], w.now.Add(3*hour)); is {
		t.Error("due while a daemon may still use blocks")
	}
	w.later(15 * hour)
	w.finish()
	w.complete()
	if again, err := w.tryHistory(); err != nil || again.State != repository.ErasurePending {
		t.Errorf("a second erasure: %+v, %v", again, err)
	}
	w.later(15 * hour)
	w.finish()
	w.complete()
}

// A hold forbids it. So does a copy.
func TestHistoryHeld(t *testing.T) {
	w := newPast(t)
	s, err := erasure.LookAtHistory(t.Context(), []repository.Config{w.config()}, anneName, w.until, w.here)
	if err != nil {
		t.Fatal(err)
	}
	w.hold(w.found("anne"), repository.HoldTripwire)
	before := w.mem.Snapshot()
	for _, survey := range []bool{false, true} {
		if survey {
			_, err = w.tryHistory()
		} else {
			_, err = erasure.EraseHistory(t.Context(), s, w.historyOptions())
		}
		if !errors.Is(err, repository.ErrOnHold) {
			t.Errorf("%v", err)
		}
	}
	for _, key := range w.mem.Changed(before) {
		if !strings.HasSuffix(key, "upkeep.json") {
			t.Errorf("%s has changed", key)
		}
	}
}

func TestHistoryOfCopies(t *testing.T) {
	w := newPast(t)
	if _, err := w.remains().SetAsideToErase(t.Context(), "test", w.lock()); err != nil {
		t.Fatal(err)
	}
	w.commit("anne", map[int]string{108: ""})
	if _, err := w.tryHistory(); !errors.Is(err, erasure.ErrCopies) || !strings.Contains(err.Error(), "set-aside/user/anne/") {
		t.Errorf("%v", err)
	}
}

// Each request fails in turn, without effect or without an answer, and the erasure is repeated.
func TestHistoryWithFaults(t *testing.T) {
	for _, how := range []string{"before", "after"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			n := 0
			for more := true; more; n += 2 * stride() {
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					w := newPast(t)
					f := faultstore.New(w.mem)
					w.store = f
					f.Add(lost(n, how == "after"))
					_, err := w.tryHistory()
					more = f.Struck() > 0
					f.Clear()
					w.store = w.mem
					if err != nil {
						w.later(hour)
						w.mustHistory()
					}
					w.forgotten()
					w.later(15 * hour)
					w.finish()
					w.complete()
				})
			}
			if n < 100 {
				t.Errorf("only %d requests", n)
			}
		})
	}
}

// Between any two changes, another run of the same erasure begins, the writer commits, or a collector
// runs.
func TestHistoryBesideOthers(t *testing.T) {
	for name, other := range map[string]func(w *past) error{
		"erasure": func(w *past) error {
			s, err := erasure.LookAtHistory(t.Context(), []repository.Config{{Name: "p", Location: "memory", Store: w.mem}}, anneName, w.until, w.here)
			if err != nil {
				return err
			}
			o := w.historyOptions()
			o.Forget.Lock.Wait = false
			_, err = erasure.EraseHistory(t.Context(), s, o)
			return err
		},
		"writer": func(w *past) error { w.commit("anne", map[int]string{108: ""}); return nil },
		"collector": func(w *past) error {
			o := w.collectOptions()
			o.Lock.Wait = false
			_, err := collection.Collect(t.Context(), repository.Config{Name: "p", Location: "memory", Store: w.mem}, o)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, more := 0, true
			for ; more; n += stride() {
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					more = false
					w := newPast(t)
					f := faultstore.New(w.mem)
					w.store = f
					var failed error
					changes := func(op, _ string) bool { return op == "put" || op == "delete" }
					f.Add(faultstore.Fault{Skip: n, Count: 1, Match: changes, Call: func(string, string) {
						more = true
						failed = other(w)
					}})
					_, err := w.tryHistory()
					f.Clear()
					w.store = w.mem
					if failed != nil && !errors.Is(failed, repository.ErrUpkeep) {
						t.Fatal(failed)
					}
					if err != nil {
						w.later(hour)
						w.mustHistory()
					}
					w.later(15 * hour)
					w.finish()
					numbers := []int{101, 102, 105, 106, 107}
					if name == "writer" && more {
						numbers = append(numbers, 108)
					}
					w.check("anne", numbers...)
					w.check("bert", 103, 104)
					if left := w.needles(); len(left) > 0 {
						t.Errorf("the needle is in %q", left)
					}
					if open := w.open(); len(open) > 0 {
						t.Errorf("%+v", open[0])
					}
				})
			}
			if n < 15 {
				t.Errorf("only %d changes", n)
			}
		})
	}
}

// An interrupted erasure of history does not hinder that of the whole backup, and ends after it.
func TestWholeErasureAfterHistory(t *testing.T) {
	for _, interrupted := range []bool{false, true} {
		w := newPast(t)
		f := faultstore.New(w.mem)
		w.store = f
		if interrupted {
			f.Add(faultstore.Fault{Match: func(op, key string) bool {
				return op == "delete" && strings.Contains(key, "/log/") && strings.Contains(key, "-")
			}, Before: func(string, string) error {
				return &objstore.Error{Op: "test", Err: errors.New("killed")}
			}})
		}
		_, err := w.tryHistory()
		w.store = w.mem
		if (err != nil) != interrupted {
			t.Fatal(err)
		}
		w.later(hour)
		w.erase()
		w.later(15 * hour)
		for _, e := range w.open() {
			if e.OfHistory() && e.Unfinished() != interrupted {
				t.Errorf("%+v", e)
			}
		}
		for _, e := range w.open() {
			if e.OfHistory() {
				if _, err := erasure.SweepHistory(t.Context(), w.config(), e, w.historyOptions().Forget); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.later(15 * hour)
		w.finish()
		w.check("bert", 103, 104)
		if left := w.needles(); len(left) > 0 {
			t.Errorf("the needle is in %q", left)
		}
		if open := w.open(); len(open) > 0 {
			t.Errorf("%+v", open[0])
		}
	}
}
