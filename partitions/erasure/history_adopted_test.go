package erasure_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

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

func (w *past) repair() {
	w.t.Helper()
	if _, err := verify.Repair(w.t.Context(), w.remains(), w.repairOptions()); err != nil {
		w.t.Fatal(err)
	}
	if info, err := repository.ReadBackupInfo(w.t.Context(), w.mem, anne); err != nil || info.ID == "" {
		w.t.Fatalf("%+v, %v", info, err)
	}
}

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

func repairedPending(t *testing.T) *past {
	w := newPast(t)
	w.mustHistory()
	w.later(hour)
	w.mem.Lose(repository.BackupInfoKey(anne))
	w.repair()
	return w
}

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

func (w *past) ofHistory() *repository.Erasure {
	w.t.Helper()
	open := slices.DeleteFunc(w.open(), func(e *repository.Erasure) bool { return !e.OfHistory() })
	if len(open) != 1 {
		w.t.Fatalf("%d erasures of history are open", len(open))
	}
	return open[0]
}

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
