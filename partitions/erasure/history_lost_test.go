package erasure_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// The list of packs of an erasure is lost or damaged. Packs with the mail of others are repaired nevertheless. If a former
// version of the list is put back, the erasure of history does not trust it: the new pack is missing there.
func TestRepairBesideLostList(t *testing.T) {
	for _, whole := range []bool{false, true} {
		for _, lost := range []bool{false, true} {
			w := newPast(t)
			if whole {
				w.erase()
			} else {
				w.mustHistory()
			}
			key := repository.ErasurePacksKey(w.only().ID)
			list := w.mem.Bytes(key)
			if lost {
				w.mem.Lose(key)
			} else {
				w.put(key, []byte("damaged"))
			}
			w.put(w.mixed, append(slices.Clone(w.mem.Bytes(w.mixed)), "damage"...))
			if _, err := verify.Repair(t.Context(), w.found("bert"), w.repairOptions()); err != nil || w.has(w.mixed) {
				t.Errorf("whole: %t, lost: %t: %v, the damaged pack is there: %t", whole, lost, err, w.has(w.mixed))
				continue
			}
			w.check("bert", 103, 104)
			w.put(key, list)
			if e := w.only(); e.Unknown == 0 {
				t.Errorf("%+v", e)
			}
			if whole {
				continue
			}
			if _, err := erasure.Listed(t.Context(), w.config(), w.open()); !errors.Is(err, history.ErrCorrupt) {
				t.Errorf("%v", err)
			}
			w.mustHistory()
			w.later(15 * hour)
			w.nights(3)
			w.complete()
		}
	}
}

// An empty object is no list of packs.
func TestEmptyList(t *testing.T) {
	w := newPast(t)
	w.mustHistory()
	w.put(repository.ErasurePacksKey(w.only().ID), nil)
	if _, err := erasure.Listed(t.Context(), w.config(), w.open()); !errors.Is(err, history.ErrCorrupt) {
		t.Errorf("%v", err)
	}
}

// An erasure that was refused has packs left, and loses its list. It keeps no pack from being rewritten, and a person can
// end it.
func TestCancelledListLost(t *testing.T) {
	w := newPast(t)
	w.mustHistory()
	now, info, err := repository.ReadErasure(t.Context(), w.mem, w.only().ID)
	if err != nil {
		t.Fatal(err)
	}
	now.Cancelled = w.now
	if _, err := now.Put(t.Context(), w.mem, info.ETag); err != nil {
		t.Fatal(err)
	}
	if err := objstore.EraseObject(t.Context(), w.mem, repository.ErasurePacksKey(now.ID)); err != nil {
		t.Fatal(err)
	}
	if _, all, err := erasure.Keep(w.config(), nil, w.here)(t.Context()); err != nil || all {
		t.Errorf("no pack is rewritten: %t, %v", all, err)
	}
	if _, err := erasure.Listed(t.Context(), w.config(), w.open()); err == nil || !strings.Contains(err.Error(), "--cancel") {
		t.Errorf("%v", err)
	}
	list, err := erasure.OpenParts(t.Context(), w.parts(), anneName, func(e *repository.Erasure) bool { return e.Before.Equal(w.until) })
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	if _, err := erasure.CancelHistory(t.Context(), w.config(), list[0].ID, w.lock()); err != nil {
		t.Fatal(err)
	}
	if open := w.open(); len(open) > 0 {
		t.Errorf("%+v", open[0])
	}
}

// The list of packs is lost when nothing else shows which packs have erased bodies. Another run of erase completes the
// erasure.
func TestHistoryListLostAgain(t *testing.T) {
	for _, lost := range []bool{false, true} {
		w := newPast(t)
		w.mustHistory()
		w.later(15 * hour)
		if err := w.sweep(); err != nil {
			t.Fatal(err)
		}
		id := w.only().ID
		if lost {
			w.mem.Lose(repository.ErasurePacksKey(id))
		} else {
			w.put(repository.ErasurePacksKey(id), []byte("damaged"))
		}
		s, err := erasure.LookAtHistory(t.Context(), w.parts(), anneName, w.until, w.here)
		if err != nil || !s.ListLost {
			t.Fatalf("%+v, %v", s, err)
		}
		if done := w.mustHistory(); done.ID != id {
			t.Errorf("another erasure: %+v", done)
		}
		w.later(15 * hour)
		w.nights(2)
		w.complete()
	}
}

// An erasure is not ended by a person while daemons may be using what it has replaced: retention would remove that.
func TestCancelTooEarly(t *testing.T) {
	for _, state := range []string{repository.ErasureRemoving, repository.ErasurePending} {
		w := interruptedHistory(t)
		if state == repository.ErasurePending {
			w.mustHistory()
		}
		id := w.only().ID
		w.put(repository.ErasurePacksKey(id), []byte("damaged"))
		if _, err := erasure.CancelHistory(t.Context(), w.config(), id, w.lock()); err == nil || !strings.Contains(err.Error(), "try again then") {
			t.Errorf("%s: %v", state, err)
		}
		w.later(25 * hour)
		if _, err := erasure.CancelHistory(t.Context(), w.config(), id, w.lock()); err != nil {
			t.Errorf("%s: %v", state, err)
		}
	}
}

// A damaged pack had no entry that was readable, so that its repair has put no note. Nobody needs it any more: its former
// versions go.
func TestHistoryRepairedWithoutNote(t *testing.T) {
	w := newPast(t)
	w.mustHistory()
	w.put(w.mixed, []byte("garbage"))
	if _, err := verify.Repair(t.Context(), w.found("bert"), w.repairOptions()); err != nil || w.has(w.mixed) {
		t.Fatalf("%v, the damaged pack is there: %t", err, w.has(w.mixed))
	}
	for _, key := range w.mem.Keys("backups/user/bert/") {
		w.mem.Lose(key)
	}
	for range 3 {
		w.later(15 * hour)
		w.finish()
	}
	if open := w.open(); len(open) > 0 {
		t.Errorf("%+v", open[0])
	}
	if left := w.needles(); len(left) > 0 {
		t.Errorf("the needle is in %q", left)
	}
}
