package erasure_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// loseCommit loses a commit of anne after the time, and records the loss.
func (w *past) loseCommit() {
	w.t.Helper()
	for n := 110; n < 113; n++ {
		w.later(hour)
		w.commit("anne", map[int]string{n: ""})
	}
	newest := w.mem.Keys("backups/user/anne/log/")
	w.mem.Lose(newest[len(newest)-2])
	if _, err := verify.Repair(w.t.Context(), w.found("anne"), w.repairOptions()); err != nil {
		w.t.Fatal(err)
	}
}

// A commit is lost while an erasure of the history is open, so that the log cannot be folded any more. The erasure does not
// keep the backup, and the packs of others, for ever: once it has failed, a person can end it.
func TestCancelOfLostCommit(t *testing.T) {
	for _, state := range []string{repository.ErasureRemoving, repository.ErasurePending} {
		t.Run(state, func(t *testing.T) {
			w := interruptedHistory(t)
			if state == repository.ErasurePending {
				w.mustHistory()
			}
			id := w.only().ID
			w.loseCommit()
			w.later(15 * hour)
			if _, err := erasure.CancelHistory(t.Context(), w.config(), id, w.lock()); err == nil || !strings.Contains(err.Error(), "can be completed") {
				t.Errorf("before another run: %v", err)
			}
			var err error
			if state == repository.ErasurePending {
				err = w.sweep()
			} else {
				_, err = w.tryHistory()
			}
			if !history.IsUnreadable(err) {
				t.Fatalf("it does not fail: %v", err)
			}
			if _, _, err := w.found("anne").SetAside(t.Context(), "test", w.lock(), nil); !errors.Is(err, repository.ErrErasing) || !strings.Contains(err.Error(), "--cancel") {
				t.Errorf("%v", err)
			}
			w.later(25 * hour)
			if _, err := erasure.CancelHistory(t.Context(), w.config(), id, w.lock()); err != nil {
				t.Fatal(err)
			}
			if _, _, err := w.found("anne").SetAside(t.Context(), "test", w.lock(), nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// A failure of the store, or of a lease, is no reason to end an erasure.
func TestCancelAfterOutage(t *testing.T) {
	w := newPast(t)
	w.mustHistory()
	w.later(15 * hour)
	w.fails(0, func(op, key string) bool { return strings.Contains(key, "/log/") })
	if err := w.sweep(); err == nil {
		t.Fatal("nothing has failed")
	}
	w.store = w.mem
	if _, err := erasure.CancelHistory(t.Context(), w.config(), w.only().ID, w.lock()); err == nil || !strings.Contains(err.Error(), "can be completed") {
		t.Errorf("%v", err)
	}
}

// The record of an erasure is damaged. Half a day later it keeps no pack of others.
func TestKeepBesideDamagedRecord(t *testing.T) {
	w := newPast(t)
	w.mustHistory()
	w.put(repository.ErasureKey(w.only().ID), []byte("damaged"))
	kept := func() (n int) {
		t.Helper()
		packs, all, err := erasure.Keep(w.config(), nil, w.here)(t.Context())
		if err != nil || all {
			t.Fatalf("all: %t, %v", all, err)
		}
		for _, err := range packs {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	if kept() == 0 {
		t.Error("at first: no pack is kept")
	}
	w.later(erasure.HistoryGrace + time.Second)
	if n := kept(); n > 0 {
		t.Errorf("later: %d packs are kept", n)
	}
	if _, err := erasure.Open(t.Context(), w.config()); !history.IsUnreadable(err) || !strings.Contains(err.Error(), "put back a former version") {
		t.Errorf("%v", err)
	}
}

// A collection has removed the packs of an erasure, and was interrupted. The note about one of them is damaged then, and
// nobody names that pack any more. The next collection goes on, and ends the erasure.
func TestDamagedNoteOfErasedPack(t *testing.T) {
	w := newPast(t)
	w.erase()
	w.later(3 * hour)
	o := w.collectOptions()
	o.Erase = erasure.Packs(t.Context(), w.config(), w.open())
	if _, err := collection.Collect(t.Context(), w.config(), o); err != nil {
		t.Fatal(err)
	}
	note, _ := history.MovedKey(w.private)
	if w.has(w.private) || !w.has(note) {
		t.Fatal("no pack was removed: this test covers nothing")
	}
	w.put(note, []byte("damaged"))
	for range 2 {
		w.later(hour)
		_ = w.tryFinish() // it reports the note
	}
	if open := w.open(); len(open) > 0 {
		t.Errorf("%+v", open[0])
	}
	if left := w.needles(); len(left) > 0 {
		t.Errorf("the needle is in %q", left)
	}
}
