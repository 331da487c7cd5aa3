package maintenance_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Checkpoints get the places of today: every kept moment is restored without the notes, with the same
// state.ndjson. The former blocks stay for a day.
func TestRelocate(t *testing.T) {
	w := newMoving(t)
	w.check()
	w.withoutNotes(func() {
		if w.unread() == 0 {
			t.Fatal("no checkpoint needs a note")
		}
	})
	states, blocks := w.states(), w.objects(history.RecordsPrefix(anne))
	done := w.mustRelocate()
	if done.Checkpoints < 3 || done.Places < len(w.moved) {
		t.Errorf("%+v", done)
	}
	if now := w.states(); !maps.Equal(states, now) {
		t.Errorf("states of checkpoints have changed: %v, were %v", now, states)
	}
	w.check()
	w.checkVerify()
	w.withoutNotes(func() { w.check0() })
	for key := range w.named() { // also in blocks that no checkpoint names
		for p, err := range history.ObjectPlaces(t.Context(), w.memory, key) {
			w.must(err)
			if slices.Contains(w.moved, p.Object) {
				t.Errorf("%s names %s", key, p.Object)
			}
		}
	}
	if done := w.mustRelocate(); done.Checkpoints > 0 {
		t.Errorf("again: %+v", done)
	}
	w.hours(20)
	w.deliver("inbox", 1)
	w.mustRetain()
	if lost := w.lost(blocks); lost > 0 {
		t.Errorf("%d former blocks are gone after 20 hours", lost)
	}
	w.days(2)
	w.deliver("inbox", 1)
	w.mustRetain()
	if w.lost(blocks) == 0 {
		t.Error("the former blocks stay for ever")
	}
	w.withoutNotes(func() { w.check0() })
}

// lost returns how many of some objects with blocks are gone.
func (w *moving) lost(blocks map[string]time.Duration) (n int) {
	w.t.Helper()
	left := w.objects(history.RecordsPrefix(anne))
	for key := range blocks {
		if _, ok := left[key]; !ok {
			n++
		}
	}
	return n
}

// mustRead fails if a message of any checkpoint cannot be read after a fault of request n.
func (w *moving) mustRead(n int) {
	w.t.Helper()
	if lost := w.unread(); lost > 0 {
		w.t.Fatalf("request %d: %d messages cannot be read", n, lost)
	}
}

// states returns the hash of the state of each checkpoint.
func (w *moving) states() map[uint64]string {
	w.t.Helper()
	out := map[uint64]string{}
	for _, n := range w.checkpoints() {
		m, err := history.ReadCheckpoint(w.t.Context(), w.memory, anne, n)
		w.must(err)
		out[n] = m.Checkpoint().Hash
		w.must(m.Close())
	}
	return out
}

// Nothing is put before the first retention, which alone removes the former blocks.
func TestRelocateBeforeRetention(t *testing.T) {
	w := &moving{past: newPast(t)}
	w.create("inbox")
	for range 12 {
		w.deliver("inbox", 1)
	}
	w.checkpoint()
	w.days(20)
	m, err := history.ReadCheckpoint(t.Context(), w.memory, anne, w.checkpoints()[0])
	w.must(err)
	for p, err := range m.AllPlaces() {
		w.must(err)
		w.must(repository.NoteMoved(t.Context(), w.memory, false, w.now, p.Object, []string{p.Entry}, w.pack(p)))
		w.must(w.memory.Delete(t.Context(), p.Object))
		break
	}
	w.must(m.Close())
	if done := w.mustRelocate(); done.Checkpoints > 0 {
		t.Errorf("%+v", done)
	}
}

// A retention within a day leaves the blocks of checkpoints that were replaced, although the checkpoint before
// the log was not.
func TestRetainAfterRelocate(t *testing.T) {
	w := newMoving(t)
	first, err := w.log().First(t.Context())
	w.must(err)
	key := history.CheckpointKey(anne, first-1)
	base, put := w.memory.Bytes(key), w.now.Add(-w.objects(key)[key])
	n := w.checkpoints()[0]
	former, err := history.ReadCheckpoint(t.Context(), w.memory, anne, n)
	w.must(err)
	defer former.Close()
	blocks := w.objects(history.RecordsPrefix(anne))
	if n == first-1 || w.mustRelocate().Checkpoints < 3 {
		t.Fatalf("checkpoint %d, log from %d", n, first)
	}
	now := w.now
	w.now = put
	w.put(key, base)
	w.now = now.Add(20 * time.Hour)
	w.deliver("inbox", 1)
	if r, err := w.retain(); err != nil || r.Cut.Number == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, err := range former.AllPlaces() {
		w.must(err)
	}
	w.catchUp()
	for range 4 { // the checkpoint that was not replaced needs some of them
		w.days(2)
		w.deliver("inbox", 1)
		w.mustRetain()
	}
	if w.lost(blocks) == 0 {
		t.Error("the former blocks stay for ever")
	}
}

// An erasure of history that begins just after Relocate leaves the former blocks for a day, too.
func TestRelocateBeforeForget(t *testing.T) {
	w := newForgetful(t)
	m := movingOf(w.past)
	w.renew()
	first, err := w.log().First(t.Context())
	w.must(err)
	n := w.checkpoints()[1] // a kept moment
	if n >= first-1 {
		t.Fatalf("checkpoints %v, log from %d", w.checkpoints(), first)
	}
	former, err := history.ReadCheckpoint(t.Context(), w.memory, anne, n)
	w.must(err)
	defer former.Close()
	if done := m.mustRelocate(); done.Checkpoints < 3 {
		t.Fatalf("%+v", done)
	}
	w.now = w.now.Add(5 * time.Minute)
	w.until = w.times[n].Truncate(24 * time.Hour)
	w.mustForget()
	w.hours(15)
	if s := w.sweep(); s.Complete() {
		t.Errorf("%+v", s)
	}
	for _, err := range former.AllPlaces() {
		w.must(err)
	}
	w.hours(9)
	if s := w.sweep(); !s.Complete() {
		t.Errorf("a day later: %+v", s)
	}
	w.checkMoments()
}

// A moment whose object got a time in the future, while a clock was wrong, does not keep former blocks.
func TestRetainAheadOfTime(t *testing.T) {
	w := newMoving(t)
	blocks, n := w.objects(history.RecordsPrefix(anne)), w.checkpoints()[0]
	if done := w.mustRelocate(); done.Checkpoints < 3 {
		t.Fatalf("%+v", done)
	}
	key, now := history.CheckpointKey(anne, n), w.now
	w.now = now.AddDate(10, 0, 0)
	w.put(key, w.memory.Bytes(key))
	w.now = now
	w.days(2)
	w.deliver("inbox", 1)
	w.mustRetain()
	if w.lost(blocks) == 0 {
		t.Error("the former blocks stay")
	}
}

// A wrong answer about the time does not make a commit old. Its checkpoint may be one that a daemon is putting.
func TestRelocateYoung(t *testing.T) {
	w := newMoving(t)
	w.deliver("inbox", 1)
	w.checkpoint()
	restore, key := w.again(), history.CheckpointKey(anne, w.tip.Number)
	for wrong := range 4 { // which answer
		restore()
		before := w.memory.Snapshot()
		s := faultstore.New(w.memory)
		s.Add(faultstore.Fault{Match: func(op, key string) bool { return op == "stat" && key == repository.BackupInfoKey(anne) }, Skip: wrong - 1, Count: 1, Shift: 72 * time.Hour})
		if wrong > 0 {
			w.store = s
		}
		done, err := w.relocate()
		w.store = w.memory
		if all := wrong == 0; err != nil || all != (done.Checkpoints > 0) {
			t.Errorf("answer %d is wrong: %+v, %v", wrong, done, err)
		}
		if slices.Contains(w.memory.Changed(before), key) {
			t.Errorf("answer %d is wrong: the young checkpoint was put again", wrong)
		}
	}
}

// anyPlace returns a place in a pack that exists, of no moved body.
func (w *moving) anyPlace() (at history.Place) {
	w.t.Helper()
	for key := range w.objects(history.LogPrefix(anne)) {
		for p, err := range history.LogPlaces(w.t.Context(), w.memory, key) {
			w.must(err)
			if strings.HasPrefix(p.Object, "packs/") {
				at = p
			}
		}
	}
	return at
}

// Each request of a run fails in turn, loses its answer, or arrives again when the run has ended. Every
// moment is there then, and the next run leaves no checkpoint that needs a note.
func TestRelocateWithFaults(t *testing.T) {
	w := newMoving(t)
	start, at := w.memory.Snapshot(), w.now
	kinds := map[string]faultstore.Fault{
		"fails":      {Before: faultstore.Lost},
		"lost":       {After: faultstore.Lost},
		"again late": {Late: true},
	}
	for name, f := range kinds {
		for n, step := every(40); ; n += step {
			w.memory.Rollback(start, "", false)
			w.now = at
			s := faultstore.New(w.memory)
			f.Skip, f.Count = n, 1
			s.Add(f)
			w.store = s
			_, err := w.relocate()
			w.store = w.memory
			if s.Struck() == 0 {
				if n < 30 {
					t.Errorf("a run has only %d requests", n)
				}
				break
			}
			if err != nil && !objstore.IsTemporary(err) {
				t.Fatalf("%s, request %d: %v", name, n, err)
			}
			s.Deliver(t.Context())
			w.mustRead(0)
			w.hours(1)
			s.Deliver(t.Context())
			w.mustRead(0)
			w.mustRelocate()
			w.checkVerifyEach(n)
			w.withoutNotes(func() { w.mustRead(n) })
		}
	}
}

// checkVerifyEach runs verify after some of the faults.
func (w *moving) checkVerifyEach(n int) {
	w.t.Helper()
	if n%16 == 0 {
		w.checkVerify()
	}
}

// A checkpoint that somebody replaces meanwhile stays as it is.
func TestRelocateBeside(t *testing.T) {
	w := newMoving(t)
	n := w.checkpoints()[0]
	key := history.CheckpointKey(anne, n)
	s := faultstore.New(w.memory)
	s.Add(faultstore.Fault{Match: func(op, k string) bool { return op == "put" && k == key }, Count: 1, Call: func(string, string) {
		m, err := history.ReadCheckpoint(t.Context(), w.memory, anne, n)
		w.must(err)
		_, err = m.WriteCheckpoint(t.Context(), pack.Options{})
		w.must(errors.Join(err, m.Close()))
	}})
	w.store = s
	done, err := w.relocate()
	w.store = w.memory
	if err != nil || done.Checkpoints < 2 || s.Struck() != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	w.check0()
	if again := w.mustRelocate(); again.Checkpoints != 1 {
		t.Errorf("the next night: %+v", again)
	}
	w.withoutNotes(func() { w.mustRead(0) })
}

// A temporary answer to the put of a checkpoint is no failure, although no decorator repeats the put: also if it
// has arrived, so that the repetition is refused.
func TestRelocateRepeats(t *testing.T) {
	w := newMoving(t)
	restore := w.again()
	puts := func(op, key string) bool { return op == "put" && strings.Contains(key, "/checkpoints/") }
	for name, f := range map[string]faultstore.Fault{"busy": {Before: faultstore.Lost}, "lost": {After: faultstore.Lost}} {
		for n := range 4 { // which put
			restore()
			s := faultstore.New(w.memory)
			f.Match, f.Skip, f.Count = puts, n, 1
			s.Add(f)
			w.store = s
			done, err := w.relocate()
			w.store = w.memory
			if err != nil || done.Checkpoints != 4 || s.Struck() != 1 {
				t.Errorf("%s: put %d: %+v, %v", name, n, done, err)
			}
			w.withoutNotes(func() { w.mustRead(n) })
		}
	}
}

// The put of a checkpoint arrives when the run has ended: in its place, or too late.
func TestRelocateLate(t *testing.T) {
	w := newMoving(t)
	restore, key := w.again(), history.CheckpointKey(anne, w.checkpoints()[1])
	for name, c := range map[string]struct {
		meanwhile func()
		wins      bool
	}{
		"an hour":   {func() { w.hours(1) }, true},
		"relocated": {func() { w.hours(1); w.mustRelocate() }, false},
		"removed": {func() {
			w.hours(20)
			w.deliver("inbox", 1)
			_, err := w.retain()
			w.must(err)
			w.catchUp()
		}, false},
	} {
		restore()
		s := faultstore.New(w.memory)
		s.Add(faultstore.Fault{Match: func(op, k string) bool { return op == "put" && k == key }, Kept: true})
		w.store = s
		_, err := w.relocate()
		w.store = w.memory
		if !objstore.IsTemporary(err) || s.Struck() < 2 {
			t.Fatalf("%s: %d puts, %v", name, s.Struck(), err)
		}
		c.meanwhile()
		before := w.memory.Snapshot()
		s.Deliver(t.Context())
		if wins := len(w.memory.Changed(before)) > 0; wins != c.wins {
			t.Errorf("%s: the late put wins: %t", name, wins)
		}
		w.mustRead(0)
		w.checkVerify()
		w.mustRelocate()
		w.withoutNotes(func() { w.mustRead(0) })
	}
}

// A damaged checkpoint does not keep the others from being put again.
func TestRelocateDespiteDamage(t *testing.T) {
	w := newMoving(t)
	n := w.checkpoints()[0]
	w.memory.Truncate(history.CheckpointKey(anne, n), 100)
	done, err := w.relocate()
	if done.Checkpoints != 3 || !history.IsDamage(err) || !strings.Contains(err.Error(), fmt.Sprintf("checkpoint %d:", n)) {
		t.Errorf("%+v, %v", done, err)
	}
}

// Without an answer, the run ends at the first checkpoint.
func TestRelocateWithoutStore(t *testing.T) {
	w := newMoving(t)
	s := faultstore.New(w.memory)
	s.Add(faultstore.Fault{Match: func(op, key string) bool { return op == "get" && strings.Contains(key, "/checkpoints/") }, Before: faultstore.Lost})
	w.store = s
	_, err := w.relocate()
	w.store = w.memory
	if !objstore.IsTemporary(err) || s.Struck() != 1 {
		t.Errorf("%d requests, %v", s.Struck(), err)
	}
}

// Each backup is looked at in about one night of seven, also if compact runs on one day of the week.
func TestRelocateNight(t *testing.T) {
	for _, path := range []string{"user/a", "user/anne", "user/bert@example.org", "shared/list"} {
		for _, days := range []int{1, 2, 7} {
			n := 0
			for night := range 140 {
				if maintenance.RelocateNight(path, time.Date(2026, 3, 1+night*days, 3, 0, 0, 0, time.UTC)) {
					n++
				}
			}
			if n < 8 || n > 40 {
				t.Errorf("%s: %d of 140 runs, one every %d days", path, n, days)
			}
		}
	}
}
