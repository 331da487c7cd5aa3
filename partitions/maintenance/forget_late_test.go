package maintenance_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// longHistory has more days before the limit than shortHistory.
func longHistory(t *testing.T) *forgetful {
	w := shortHistory(t)
	w.liveFor(9)
	w.until = maintenance.LastDay(w.now, 48*time.Hour).Add(-24 * time.Hour)
	return w
}

// night does what compact does, without collection.
func (w *forgetful) night() (swept maintenance.Swept, err error) {
	w.t.Helper()
	err = w.upkeep(func(f *repository.Found, u *repository.Upkeep) (err error) {
		swept, err = maintenance.Sweep(w.t.Context(), f, u, w.forgetOptions())
		m := maintenance.NewMerger(f.Partition, w.forgetOptions().Merge)
		job := m.Add(w.t.Context(), f, u)
		return errors.Join(err, m.Flush(w.t.Context()), job.Err)
	})
	return swept, err
}

// A delayed request puts a segment again that was removed. Sweep removes it, or compaction when it is old enough.
func TestSweepLateSegment(t *testing.T) {
	for _, which := range []string{"first", "second", "last"} {
		t.Run(which, func(t *testing.T) {
			w := longHistory(t)
			w.merge()
			old := map[string][]byte{}
			var gone []string
			for key := range w.objects(history.LogPrefix(anne)) {
				if strings.Contains(key[len(history.LogPrefix(anne)):], "-") {
					old[key], gone = w.memory.Bytes(key), append(gone, key)
				}
			}
			w.mustForget()
			gone = slices.DeleteFunc(gone, func(key string) bool { return w.memory.Bytes(key) != nil })
			slices.Sort(gone)
			if len(gone) < 3 {
				t.Fatalf("%d segments were removed", len(gone))
			}
			key := gone[map[string]int{"first": 0, "second": 1, "last": len(gone) - 1}[which]]
			w.put(key, old[key])
			for range 4 {
				w.hours(25)
				_, _ = w.night()
			}
			w.hours(25)
			if s := w.sweep(); !s.Complete() || w.memory.Bytes(key) != nil {
				t.Errorf("%+v, %s is there: %t", s, key, w.memory.Bytes(key) != nil)
			}
			w.checkForgotten(true)
		})
	}
}

// Retention and the checkpoints of a daemon go on each night, for some nights without a sweep. The next sweeps
// complete nevertheless.
func TestSweepBesideRetention(t *testing.T) {
	w := longHistory(t)
	w.policy.Keep, w.policy.Daily = 72*time.Hour, 3
	w.mustForget()
	for night := range 8 {
		w.hours(25)
		if night > 3 {
			s, err := w.night()
			w.must(err)
			if s.Complete() {
				w.checkForgotten(true)
				return
			}
		}
		_, err := w.retain()
		w.must(err)
		w.renew()
		w.deliver("inbox", 2)
		w.note()
		w.checkpoint()
	}
	t.Error("it never completes")
}

// A delayed request puts a single commit into the history that was removed, with an inline body. Sweep removes it
// as soon as it is old enough.
func TestSweepLateCommit(t *testing.T) {
	for _, which := range []string{"first", "middle"} {
		t.Run(which, func(t *testing.T) {
			w := longHistory(t)
			w.mustForget()
			n := map[string]uint64{"first": 1, "middle": w.base() / 2}[which]
			b := history.NewBuilder(history.Header{Backup: anne, Number: n, Time: w.times[n], Clock: w.times[n]}, pack.Options{})
			w.must(b.Event(&history.MessagesEvent{Messages: w.bodies(b, 1, true)}))
			if won, err := w.found.PutBuilt(t.Context(), b); err != nil || !won {
				t.Fatal(won, err)
			}
			for range 4 {
				w.hours(25)
				_, _ = w.night()
			}
			w.hours(25)
			s := w.sweep()
			if there := w.memory.Bytes(history.LogKey(anne, n)) != nil; there || !s.Complete() {
				t.Errorf("%+v, commit %d is there: %t", s, n, there)
			}
			w.checkForgotten(true)
		})
	}
}
