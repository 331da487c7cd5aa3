package erasure_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// fails makes the n-th request fail.
func (w *past) fails(n int, match func(op, key string) bool) (struck func() bool) {
	f := faultstore.New(w.mem)
	f.Add(faultstore.Fault{Skip: n, Count: 1, Match: match, Before: func(string, string) error {
		return &objstore.Error{Op: "test", Temporary: true, Err: faultstore.ErrLost}
	}})
	w.store = f
	return func() bool { w.store = w.mem; return f.Struck() > 0 }
}

// A run with a wrong, late time is interrupted at any request. As long as nothing was removed, the next run has its own
// time, and every moment from there on stays. Afterwards the record keeps the time, and a run that has not seen it
// changes nothing.
func TestHistoryTimeIsCorrected(t *testing.T) {
	right := time.Date(2027, 3, 2, 0, 0, 0, 0, time.UTC)
	n, corrected, kept := 0, 0, 0
	for more := true; more; n += 2 * stride() {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newPast(t)
			struck := w.fails(n, nil)
			_, _ = w.tryHistory()
			if more = struck(); !more {
				return
			}
			w.later(hour)
			state := ""
			if list := w.records(); len(list) > 0 {
				state = list[0].State
			}
			var first strings.Builder
			for _, key := range w.mem.Keys("backups/user/anne/log/") {
				first.WriteString(key)
			}
			w.until = right
			s, err := erasure.LookAtHistory(t.Context(), []repository.Config{w.config()}, anneName, right, w.here)
			if err != nil {
				t.Fatal(err)
			}
			_, err = erasure.EraseHistory(t.Context(), s, w.historyOptions()) // with the time that was asked for
			switch state {
			case "", repository.ErasureBegun:
				corrected++
				if err != nil {
					t.Fatal(err)
				}
				if list := w.records(); len(list) != 1 || !list[0].Before.Equal(right) {
					t.Errorf("%+v", list[0])
				}
				w.hasMoment(2)
			case repository.ErasureRemoving:
				kept++
				if !s.Until.After(right) || !errors.Is(err, erasure.ErrChanged) {
					t.Errorf("%s: %v", s.Until, err)
				}
				w.until = s.Until
				w.mustHistory()
				w.forgotten()
			default:
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	if corrected == 0 || kept == 0 {
		t.Errorf("corrected %d times, kept %d times", corrected, kept)
	}
}

// hasMoment checks that the state after a commit can be restored, with the messages that were deleted then.
func (w *past) hasMoment(n uint64) {
	w.t.Helper()
	m, err := w.found("anne").Load(w.t.Context(), history.Moment{Number: n})
	if err != nil {
		w.t.Fatal(err)
	}
	defer m.Close()
	for _, i := range []int{1, 3, 4} {
		msg, err := m.Message(message(i).GUID)
		if err != nil || msg == nil {
			w.t.Fatalf("message %d: %v, %v", i, msg, err)
		}
		b, err := history.OpenMessage(w.t.Context(), history.NewObjects(w.mem, 0), msg, m.Places)
		if err != nil {
			w.t.Fatalf("message %d: %v", i, err)
		}
		_ = b.Close()
	}
}

// A run with a later time completes an interrupted one first, and then erases the rest.
func TestHistoryLaterTime(t *testing.T) {
	w := newPast(t)
	late := w.until
	w.until = time.Date(2027, 3, 4, 0, 0, 0, 0, time.UTC)
	struck := w.fails(0, func(op, key string) bool {
		return op == "delete" && strings.Contains(key, "/log/") && strings.Contains(key, "-")
	})
	if _, err := w.tryHistory(); err == nil || !struck() {
		t.Fatal(err)
	}
	if list := w.records(); len(list) != 1 || list[0].State != repository.ErasureRemoving {
		t.Fatalf("%+v", list)
	}
	w.later(hour)
	first := w.until
	w.until = late
	if done := w.mustHistory(); !done.Before.Equal(late) {
		t.Errorf("%+v", done.Erasure)
	}
	times := map[time.Time]bool{}
	for _, e := range w.records() {
		times[e.Before] = e.State == repository.ErasurePending
	}
	if len(times) != 2 || !times[first] || !times[late] {
		t.Errorf("%v", times)
	}
	w.forgotten()
	for range 4 {
		w.later(15 * hour)
		w.finish()
	}
	w.complete()
}
