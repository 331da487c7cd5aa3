package erasure_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// sweep calls SweepHistory for the only open erasure.
func (w *past) sweep() error {
	w.t.Helper()
	_, err := erasure.SweepHistory(w.t.Context(), w.config(), w.only(), w.historyOptions().Forget)
	return err
}

func (w *past) only() *repository.Erasure {
	w.t.Helper()
	open := w.open()
	if len(open) != 1 {
		w.t.Fatalf("%d erasures are open", len(open))
	}
	return open[0]
}

// An erasure that is refused leaves no record: the backup can be set aside, and no pack has to wait.
func TestRefusedHistoryEnds(t *testing.T) {
	w := newPast(t)
	refusal := errors.New("no")
	s, err := erasure.LookAtHistory(t.Context(), w.parts(), anneName, w.until, w.here)
	if err != nil {
		t.Fatal(err)
	}
	o := w.historyOptions()
	o.Forget.Before = func(context.Context, *repository.Found) error { return refusal }
	if done, err := erasure.EraseHistory(t.Context(), s, o); !errors.Is(err, refusal) || done != nil {
		t.Fatalf("%+v, %v", done, err)
	}
	if list := w.records(); len(list) > 0 {
		t.Errorf("%+v", list[0])
	}
	if keys := w.mem.Keys(repository.ErasedPrefix); len(keys) > 0 {
		t.Errorf("%q is left", keys)
	}
	w.mustHistory()
	w.later(15 * hour)
	w.finish()
	w.complete()
}

// An erasure was interrupted before it removed anything. The next night reports it once, and ends it.
func TestHistoryBegunIsCancelled(t *testing.T) {
	w := newPast(t)
	for n := 0; len(w.records()) == 0 || w.records()[0].State != repository.ErasureBegun; n++ {
		if n == 100 {
			t.Fatal("no request leaves a record that is begun")
		}
		struck := w.fails(n, func(string, string) bool { return true })
		_, err := w.tryHistory()
		if struck(); err == nil {
			t.Fatal("no request leaves a record that is begun")
		}
		w.later(hour)
	}
	if err := w.sweep(); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Fatal(err)
	}
	if list := w.records(); len(list) > 0 {
		t.Errorf("%+v", list[0])
	}
	if _, _, err := w.remains().SetAside(t.Context(), "test", w.lock(), nil); err != nil {
		t.Error(err)
	}
}

// interruptedHistory erases until the first object of the log is to be removed.
func interruptedHistory(t *testing.T) *past {
	t.Helper()
	w := newPast(t)
	struck := w.fails(0, func(op, key string) bool {
		return op == "delete" && strings.Contains(key, "/log/") && strings.Contains(key, "-")
	})
	if _, err := w.tryHistory(); err == nil || !struck() || w.only().State != repository.ErasureRemoving {
		t.Fatal("it was not interrupted")
	}
	w.later(hour)
	return w
}

// backup.json was damaged or lost after the erasure had begun, and a repair has rewritten it with a new id. The history
// is not gone, and a person continues the erasure.
// repair repairs the backup of anne as far as possible.
// After the erasure had begun, backup.json was lost with all commits of that time. The commits that are left are
// younger than the erasure. After a repair, the backup still counts as the same one.
// The erasure of the whole backup stopped when the backup was set aside: the copy has the history.
func TestHistoryWaitsForCopy(t *testing.T) {
	w := interruptedHistory(t)
	where, err := w.remains().SetAsideToErase(t.Context(), "test", w.lock())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.sweep(); err == nil || !strings.Contains(err.Error(), where) || w.only().State != repository.ErasureRemoving {
		t.Errorf("%v", err)
	}
	w.commit("anne", map[int]string{108: ""}) // a new life
	if err := w.sweep(); err == nil || !strings.Contains(err.Error(), where) || w.only().State != repository.ErasureRemoving {
		t.Errorf("beside a new backup: %v", err)
	}
}

// A collection that removes nothing, because it cannot read a backup, ends no erasure. Nor does a collection that has not
// counted former versions of packs.
func TestHistoryBlockedCollection(t *testing.T) {
	w := newPast(t)
	w.mustHistory()
	due, r := w.collected()
	settle := func(r *collection.Result, want string) {
		t.Helper()
		out, err := erasure.Settle(t.Context(), w.config(), due, r, w.lock())
		if err != nil || len(out) != 1 || out[0].State != want {
			t.Errorf("%+v, %v, want %s", out, err, want)
		}
	}
	r.Blocking = 1
	settle(r, repository.ErasurePending)
	r.Blocking = 0
	w.put(w.private, []byte("late"))
	if err := w.mem.Delete(t.Context(), w.private); err != nil { // a former version stays
		t.Fatal(err)
	}
	settle(r, repository.ErasurePending)
	if err := objstore.EraseObject(t.Context(), w.mem, w.private); err != nil {
		t.Fatal(err)
	}
	settle(r, repository.ErasureDone)
}

// collected sweeps and collects half a day later.
func (w *past) collected() ([]*repository.Erasure, *collection.Result) {
	w.t.Helper()
	w.later(15 * hour)
	if err := w.sweep(); err != nil {
		w.t.Fatal(err)
	}
	due, o := w.open(), w.collectOptions()
	o.Erase, o.Keep = erasure.Packs(w.t.Context(), w.config(), due), erasure.Keep(w.config(), due, w.here)
	r, err := collection.Collect(w.t.Context(), w.config(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	return due, r
}

// Between the count and its end, an erasure has begun to wait again: Settle does not end it, and a collection keeps its packs.
func TestHistoryDueIsReadAgain(t *testing.T) {
	w := newPast(t)
	w.mustHistory()
	due, r := w.collected()
	now, info, err := repository.ReadErasure(t.Context(), w.mem, due[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	now.Removed = w.now
	if _, err := now.Put(t.Context(), w.mem, info.ETag); err != nil {
		t.Fatal(err)
	}
	packs, all, err := erasure.Keep(w.config(), due, w.here)(t.Context())
	if err != nil || all {
		t.Fatal(all, err)
	}
	kept := 0
	for _, err := range packs {
		if kept++; err != nil {
			t.Fatal(err)
		}
	}
	if kept == 0 {
		t.Error("no pack is kept")
	}
	if out, err := erasure.Settle(t.Context(), w.config(), due, r, w.lock()); err != nil || out[0].State != repository.ErasurePending {
		t.Errorf("%+v, %v", out, err)
	}
}

// A hold that is placed after the last look keeps the former versions of the backup.
func TestHistoryHeldBeforeSettle(t *testing.T) {
	w := newPast(t)
	w.mustHistory()
	due, r := w.collected()
	w.hold(w.found("anne"), repository.HoldPlaced)
	former := len(w.below("backups/user/anne/records/")) + len(w.below("backups/user/anne/checkpoints/"))
	if _, err := erasure.Settle(t.Context(), w.config(), due, r, w.lock()); !errors.Is(err, repository.ErrOnHold) {
		t.Errorf("%v", err)
	}
	if n := len(w.below("backups/user/anne/records/")) + len(w.below("backups/user/anne/checkpoints/")); n != former {
		t.Errorf("%d objects and versions of %d are left", n, former)
	}
	w.mem.Lose(repository.HoldsKey(anne))
	for range 2 {
		w.later(15 * hour)
		w.finish()
	}
	w.complete()
}

// repairedPending erases the history, until the erasure waits for its packs. Then backup.json is lost and made again.
// An erasure that is refused changes no record of a backup whose backup.json was rewritten, also because another
// backup has its name meanwhile.
// A repair has put a pack that the list of a pending erasure does not have. When a person continues that erasure under the
// new id, it names the packs of the backup again.
// emptyList is a list of packs without any.
// Nothing has to be removed from the backup itself. An interruption while former versions are removed leaves no record
// that says that nothing was removed.
func TestHistoryRemovingBeforeCondemned(t *testing.T) {
	w := newPast(t)
	w.mustHistory()
	for range 2 {
		w.later(15 * hour)
		w.finish()
	}
	struck := w.fails(0, func(op, key string) bool {
		return op == "noncurrent" && key == repository.BackupPrefix(anne)
	})
	if _, err := w.tryHistory(); err == nil || !struck() {
		t.Fatal(err)
	}
	if e := w.only(); e.State != repository.ErasureRemoving {
		t.Errorf("%+v", e)
	}
}

// While the next night waits for the lease, another run continues an erasure that had begun, or ends it. The night
// neither removes the record nor says that the erasure has ended.
func TestHistoryBegunContinuesMeanwhile(t *testing.T) {
	for _, state := range []string{repository.ErasureRemoving, repository.ErasurePending, ""} {
		w := newPast(t)
		e := repository.NewErasure(repository.NewID(), anneName, w.until)
		e.Since, e.IDs = w.now, []string{w.remains().Info.ID}
		etag, err := e.Put(t.Context(), w.mem, "")
		if err != nil {
			t.Fatal(err)
		}
		open := w.only()
		f := faultstore.New(w.mem)
		w.store = f
		f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "put" && key == repository.CollectionKey }, Call: func(string, string) {
			if e.State = state; state == "" {
				w.mem.Lose(repository.ErasureKey(e.ID))
			} else if _, err := e.Put(t.Context(), w.mem, etag); err != nil {
				t.Error(err)
			}
		}})
		swept, err := erasure.SweepHistory(t.Context(), w.config(), open, w.historyOptions().Forget)
		w.store = w.mem
		if err != nil || swept.Complete() || f.Struck() == 0 {
			t.Errorf("%s: %+v, %v", state, swept, err)
		}
		if there := w.has(repository.ErasureKey(e.ID)); there != (state != "") {
			t.Errorf("%s: the record is there: %t", state, there)
		}
	}
}

// The backup is gone, and another one has its name. Former versions of the other one stay, and its hold counts.
// ofHistory returns the only open erasure of history.
// backup.json is lost after the sweep. The erasure does not end, because the backup is there.
