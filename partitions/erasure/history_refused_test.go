package erasure_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
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
func TestHistoryOfRepairedBackup(t *testing.T) {
	key := repository.BackupInfoKey(anne)
	for _, state := range []string{repository.ErasureRemoving, repository.ErasurePending} {
		t.Run(state, func(t *testing.T) {
			w := interruptedHistory(t)
			if state == repository.ErasurePending {
				w.mustHistory()
			}
			if err := w.mem.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			w.later(15 * hour)
			if err := w.sweep(); err == nil || !strings.Contains(err.Error(), "backups/user/anne/") {
				t.Errorf("without backup.json: %v", err)
			}
			w.repair()
			if err := w.sweep(); err == nil || !strings.Contains(err.Error(), "backups/user/anne/") {
				t.Errorf("with a new id: %v", err)
			}
			if got := w.only().State; got != state {
				t.Errorf("the erasure is %s", got)
			}
			if _, _, err := w.remains().SetAside(t.Context(), "test", w.lock(), nil); !errors.Is(err, repository.ErrErasing) {
				t.Errorf("set aside: %v", err)
			}
			w.mustHistory()
			for range 3 {
				w.later(15 * hour)
				w.finish()
			}
			w.complete()
		})
	}
}

// repair repairs the backup of anne as far as possible.
func (w *past) repair() {
	w.t.Helper()
	if _, err := verify.Repair(w.t.Context(), w.remains(), w.repairOptions()); err != nil {
		w.t.Fatal(err)
	}
	if info, err := repository.ReadBackupInfo(w.t.Context(), w.mem, anne); err != nil || info.ID == "" {
		w.t.Fatalf("%+v, %v", info, err)
	}
}

// After the erasure had begun, backup.json was lost with all commits of that time. The commits that are left are
// younger than the erasure. After a repair, the backup still counts as the same one.
func TestHistoryOfRepairedYoungLog(t *testing.T) {
	for _, all := range []bool{false, true} {
		w := newPast(t)
		w.mustHistory()
		w.later(15 * hour)
		old := w.mem.Keys("backups/user/anne/log/")
		w.commit("anne", map[int]string{108: ""})
		if all {
			old = w.mem.Keys("backups/user/anne/")
		}
		for _, key := range append(old, repository.BackupInfoKey(anne)) {
			if strings.HasPrefix(key, "backups/user/anne/records/") { // content of the erased history may be left there
				continue
			}
			if err := w.mem.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
		w.repair()
		if err := w.sweep(); err == nil || !strings.Contains(err.Error(), "backups/user/anne/") {
			t.Errorf("everything was lost: %t: %v", all, err)
		}
		if got := w.only().State; got != repository.ErasurePending {
			t.Errorf("the erasure is %s", got)
		}
	}
}

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

// A collection that removes nothing, because it cannot read a backup, ends no erasure. Neither does one that has not
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
func repairedPending(t *testing.T) *past {
	w := newPast(t)
	w.mustHistory()
	w.later(hour)
	w.mem.Lose(repository.BackupInfoKey(anne))
	w.repair()
	return w
}

// An erasure that is refused changes no record of a backup whose backup.json was rewritten, also because another
// backup has its name meanwhile.
func TestRefusedHistoryAdoptsNothing(t *testing.T) {
	refusal := errors.New("no")
	for _, want := range []error{refusal, erasure.ErrChanged} {
		w := repairedPending(t)
		key := repository.ErasureKey(w.only().ID)
		was := string(w.mem.Bytes(key))
		s, err := erasure.LookAtHistory(t.Context(), w.parts(), anneName, w.until, w.here)
		if err != nil || s.Interrupted == nil || s.Interrupted.Concerns(s.Found) {
			t.Fatalf("%+v, %v", s, err)
		}
		o := w.historyOptions()
		if errors.Is(want, refusal) {
			o.Forget.Before = func(context.Context, *repository.Found) error { return refusal }
		} else {
			w.mem.Lose(repository.BackupInfoKey(anne))
			w.repair()
		}
		if _, err := erasure.EraseHistory(t.Context(), s, o); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		if now := string(w.mem.Bytes(key)); now != was {
			t.Errorf("%v: the record is %s, was %s", want, now, was)
		}
	}
}

// A repair has put a pack that the list of a pending erasure does not have. When a person continues that erasure under the
// new id, it names the packs of the backup again.
func TestAdoptedHistoryNamesPacks(t *testing.T) {
	w := repairedPending(t)
	id := w.only().ID
	was := w.mem.Bytes(repository.ErasurePacksKey(id))
	w.put(repository.ErasurePacksKey(id), emptyList(t))
	w.mustHistory()
	if e := w.only(); e.ID != id || e.State != repository.ErasurePending || !e.Concerns(w.remains()) {
		t.Errorf("%+v", e)
	}
	if now := w.mem.Bytes(repository.ErasurePacksKey(id)); len(now) < len(was) {
		t.Errorf("the list has %d bytes, and had %d", len(now), len(was))
	}
	for range 3 {
		w.later(15 * hour)
		w.finish()
	}
	w.complete()
}

// emptyList is a list of packs without any.
func emptyList(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

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
func TestHistoryGoneBesideNewBackup(t *testing.T) {
	w := interruptedHistory(t)
	w.erase()
	w.later(hour)
	w.commit("anne", map[int]string{108: ""}) // a new life
	w.later(hour)
	w.checkpoint("anne")
	numbers, err := w.found("anne").Log().Checkpoints(t.Context())
	if err != nil || len(numbers) != 1 {
		t.Fatal(numbers, err)
	}
	key := history.CheckpointKey(anne, numbers[0])
	w.later(hour)
	w.put(key, w.mem.Bytes(key))
	w.later(hour)
	e := w.ofHistory()
	if _, err := erasure.SweepHistory(t.Context(), w.config(), e, w.historyOptions().Forget); err != nil {
		t.Fatal(err)
	}
	e = w.ofHistory()
	if created := w.remains().Info.Created; e.State != repository.ErasurePending || e.Cut.After(created) {
		t.Fatalf("cut at %s, created at %s: %+v", e.Cut, created, e)
	}
	w.later(15 * hour)
	w.hold(w.found("anne"), repository.HoldPlaced)
	settle := func() error {
		o := w.collectOptions()
		o.Erase = erasure.Packs(t.Context(), w.config(), w.open())
		r, err := collection.Collect(t.Context(), w.config(), o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = erasure.Settle(t.Context(), w.config(), w.open(), r, w.lock())
		return err
	}
	if err := settle(); !errors.Is(err, repository.ErrOnHold) {
		t.Errorf("on hold: %v", err)
	}
	w.mem.Lose(repository.HoldsKey(anne))
	if err := settle(); err != nil {
		t.Error(err)
	}
	former := 0
	for v, err := range w.mem.Noncurrent(t.Context(), key, "") {
		if err != nil {
			t.Fatal(err)
		}
		if !v.Marker && v.Modified.After(e.Cut) {
			former++
		}
	}
	if former == 0 {
		t.Error("a former version of the new backup was removed")
	}
	if open := w.open(); len(open) > 0 {
		t.Errorf("%+v", open[0])
	}
	if left := w.needles(); len(left) > 0 {
		t.Errorf("the needle is in %q", left)
	}
}

// ofHistory returns the only open erasure of history.
func (w *past) ofHistory() *repository.Erasure {
	w.t.Helper()
	open := slices.DeleteFunc(w.open(), func(e *repository.Erasure) bool { return !e.OfHistory() })
	if len(open) != 1 {
		w.t.Fatalf("%d erasures of history are open", len(open))
	}
	return open[0]
}

// backup.json is lost after the sweep. The erasure does not end, because the backup is there.
func TestHistorySettleWithoutInfo(t *testing.T) {
	w := newPast(t)
	w.mustHistory()
	due, r := w.collected()
	info := w.mem.Bytes(repository.BackupInfoKey(anne))
	w.mem.Lose(repository.BackupInfoKey(anne))
	if _, err := erasure.Settle(t.Context(), w.config(), due, r, w.lock()); err == nil || !strings.Contains(err.Error(), "backups/user/anne/") {
		t.Errorf("%v", err)
	}
	if got := w.only().State; got != repository.ErasurePending {
		t.Errorf("the erasure is %s", got)
	}
	w.put(repository.BackupInfoKey(anne), info)
	for range 2 {
		w.later(15 * hour)
		w.finish()
	}
	w.complete()
}
