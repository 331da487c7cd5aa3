package erasure_test

import (
	"errors"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// interrupt ends an erasure when it has put its event, and its record with it.
func (w *letters) interrupt() {
	w.t.Helper()
	f := faultstore.New(w.mem)
	w.store = f
	failing := false
	f.Add(faultstore.Fault{Match: func(op, key string) bool {
		if op == "put" && key != repository.UpkeepKey(anne) {
			for e, err := range repository.Erasures(w.t.Context(), repository.Config{Store: w.mem}, time.Time{}) {
				failing = failing || err == nil && e.Commit > 0
			}
		}
		return failing
	}, Before: func(string, string) error {
		return &objstore.Error{Op: "test", Temporary: true, Err: faultstore.ErrLost}
	}})
	_, err := w.tryMessages()
	w.store = w.mem
	if r := w.records(); err == nil || len(r) != 1 || r[0].State != repository.ErasureRemoving || r[0].Commit == 0 {
		w.t.Fatalf("%v, %+v", err, r)
	}
	w.later(hour)
}

// retainShortly does what compact does with a retention of two days.
func (w *letters) retainShortly() { w.retain(w.remains(), 0) }

// retain does what compact does with a retention of two days, and with the last moments of some months.
func (w *letters) retain(f *repository.Found, monthly int) { w.retainFor(f, 2*day, monthly) }

func (w *letters) retainFor(f *repository.Found, keep time.Duration, monthly int) {
	w.t.Helper()
	u, err := repository.BeginUpkeep(w.t.Context(), f, w.lock())
	if err != nil {
		w.t.Fatal(err)
	}
	o := w.historyOptions().Forget.RetainOptions
	o.Keep, o.Monthly, o.Erasing = keep, monthly, erasure.NewWatch(w.config(), w.here).OfHistory
	_, err = maintenance.Retain(w.t.Context(), f, u, o)
	if err = errors.Join(err, u.End(w.t.Context())); err != nil {
		w.t.Fatal(err)
	}
}

// An erasure is interrupted, and retention drops the messages before it is run again. It is completed nevertheless.
func TestMessagesRetainedMeanwhile(t *testing.T) {
	w := newLetters(t)
	w.interrupt()
	for n := range 4 {
		w.later(2 * day)
		w.commit("anne", map[int]string{110 + n: ""})
		w.checkpoint("anne")
		w.merge()
		w.retainShortly()
	}
	s, err := maintenance.FindMessages(t.Context(), w.remains(), w.guids(), w.historyOptions().Forget.RetainOptions)
	if err != nil || len(s) > 0 {
		t.Fatalf("retention has dropped nothing: this test covers nothing: %+v, %v", s, err)
	}
	w.mustMessages()
	w.nightsOf(3)
	if in := w.bodies(); len(in) > 0 {
		t.Errorf("a body is in %q", in)
	}
}

// An erasure is interrupted after its event, and the message arrives again. The next run completes it, and the new copy stays.
func TestMessagesAgainMeanwhile(t *testing.T) {
	w := newLetters(t)
	w.interrupt()
	moment := w.newest()
	w.commit("anne", map[int]string{1: ""})
	o := w.historyOptions().Forget.RetainOptions
	s, err := erasure.LookAtMessages(t.Context(), w.parts(), anneName, w.guids(), o)
	if err != nil || !s.Recorded {
		t.Fatal(s, err)
	}
	w.later(4 * day)
	w.commit("anne", map[int]string{109: ""})
	w.mustMessages()
	w.nightsOf(3)
	w.at(history.Moment{Number: moment})
	w.numbers = []int{3, 4}
	w.check2("anne", 1, 101, 102)
	w.gone2(moment + 1)
}

// A segment of other commits than today's arrives after the erasure. It leads to a pack that the erasure has never seen, and that
// another user needs. The body is removed from that pack, too.
func TestMessagesLateSegmentOfOthers(t *testing.T) {
	w := newLetters(t)
	key, object := w.lateSegment()
	w.mustMessages()
	w.later(hour)
	w.put(key, object)
	w.later(15 * hour)
	w.finish()
	w.nightsOf(4)
	if in := w.bodies(); len(in) > 0 {
		t.Errorf("a body is in %q", in)
	}
	w.check2("bert", 103, 104, 120)
	w.at(history.Moment{Number: 1})
}
