package erasure_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// Retention, in the same run of compact, leaves the blocks that the sweep has left for daemons.
func TestRetentionAfterSweep(t *testing.T) {
	w := newPast(t)
	late := w.lateCheckpoint()
	w.mustHistory()
	w.later(hour)
	late()
	w.later(4 * day)
	swept, err := erasure.SweepHistory(t.Context(), w.config(), w.only(), w.historyOptions().Forget)
	if err != nil || !swept.Appeared {
		t.Fatalf("%+v, %v", swept, err)
	}
	blocks := w.mem.Keys("backups/user/anne/records/")
	retain := func() {
		f, err := repository.FindPath(t.Context(), w.config(), anne)
		if err != nil {
			t.Fatal(err)
		}
		u, err := repository.BeginUpkeep(t.Context(), f, w.lock())
		if err != nil {
			t.Fatal(err)
		}
		o := w.historyOptions().Forget.RetainOptions
		o.Keep, o.Erasing = 2*day, erasure.NewWatch(w.config(), w.here).OfHistory
		_, err = maintenance.Retain(t.Context(), f, u, o)
		if err = errors.Join(err, u.End(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	retain()
	for _, key := range blocks {
		if !w.has(key) {
			t.Errorf("%s is gone: a daemon may be using it", key)
		}
	}
	for range 3 {
		w.later(15 * hour)
		w.finish()
	}
	w.later(5 * day)
	retain()
	w.complete()
}

// A Watch notices that a record appears, changes and is damaged.
func TestWatch(t *testing.T) {
	w := newPast(t)
	watch := erasure.NewWatch(w.config(), w.here)
	is := func(user string, want bool) {
		t.Helper()
		if open, err := watch.OfHistory(t.Context(), w.found(user)); err != nil || open != want {
			t.Errorf("%s: %t, %v", user, open, err)
		}
	}
	is("anne", false)
	w.mustHistory()
	is("anne", true)
	is("bert", false)
	for range 2 {
		w.later(15 * hour)
		w.finish()
	}
	is("anne", false)
	w.put(repository.ErasureKey(w.records()[0].ID), []byte("damaged"))
	is("bert", true)
	w.later(15 * hour)
	is("bert", false)
	w.fails(0, func(op, _ string) bool { return op == "list" })
	if _, err := erasure.NewWatch(w.config(), w.here).OfHistory(t.Context(), w.found("anne")); err == nil {
		t.Error("no error")
	}
}

// An erasure begins during a repair, which does not get the lease of collection, and is repeated. Both of its packs go.
func TestRepairRepeatedBesideErasure(t *testing.T) {
	w := newPast(t)
	w.put(w.mixed, append(slices.Clone(w.mem.Bytes(w.mixed)), "damage"...))
	f := faultstore.New(w.mem)
	var u *repository.Upkeep
	f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "put" && strings.HasPrefix(key, "moved/") }, Call: func(string, string) {
		w.mustHistory()
		var err error
		if u, err = repository.BeginCollection(t.Context(), w.config(), w.lock()); err != nil {
			t.Error(err)
		}
	}})
	found := w.found("bert")
	found.Partition.Store = f
	o := w.repairOptions()
	o.Lock.Wait = false
	if _, err := verify.Repair(t.Context(), found, o); !errors.Is(err, repository.ErrUpkeep) {
		t.Fatalf("%v", err)
	}
	if err := u.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := verify.Repair(t.Context(), w.found("bert"), w.repairOptions()); err != nil || w.has(w.mixed) {
		t.Fatalf("%v, the damaged pack is there: %t", err, w.has(w.mixed))
	}
	for range 3 {
		w.later(25 * hour)
		w.finish()
	}
	w.complete()
}

// The removal of the record, or of the list, of a refused erasure gets no answer, and arrives after the next run.
func TestRefusedRecordDeletedLate(t *testing.T) {
	for _, suffix := range []string{".json", ".packs.zst"} {
		t.Run(suffix, func(t *testing.T) {
			w := newPast(t)
			w.fails(0, func(op, key string) bool {
				return op == "delete" && strings.HasPrefix(key, "erased/") && strings.HasSuffix(key, ".json")
			})
			s, err := erasure.LookAtHistory(t.Context(), w.parts(), anneName, w.until, w.here)
			if err != nil {
				t.Fatal(err)
			}
			o := w.historyOptions()
			o.Forget.Before = func(context.Context, *repository.Found) error { return errors.New("no") }
			if _, err := erasure.EraseHistory(t.Context(), s, o); err == nil {
				t.Fatal("it was not refused")
			}
			w.store = w.mem
			refused := w.records()[0].ID
			w.later(hour)
			w.mustHistory()
			w.later(hour)
			if err := w.mem.Delete(t.Context(), "erased/"+refused+suffix); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				w.later(15 * hour)
				w.finish()
			}
			w.complete()
			if len(w.records()) == 0 {
				t.Error("no record is left")
			}
		})
	}
}

// While the person reads the question, the backup is set aside, and comes back from an export.
func TestHistoryCopyAppears(t *testing.T) {
	w := newPast(t)
	s, err := erasure.LookAtHistory(t.Context(), w.parts(), anneName, w.until, w.here)
	if err != nil {
		t.Fatal(err)
	}
	before := map[string][]byte{}
	for _, key := range w.mem.Keys("backups/user/anne/") {
		before[key] = w.mem.Bytes(key)
	}
	if _, _, err := w.remains().SetAside(t.Context(), "test", w.lock(), func(repository.Copied) {}); err != nil {
		t.Fatal(err)
	}
	for key, b := range before {
		w.put(key, b)
	}
	if _, err := erasure.EraseHistory(t.Context(), s, w.historyOptions()); !errors.Is(err, erasure.ErrCopies) {
		t.Errorf("%v", err)
	}
	if open := w.open(); len(open) > 0 {
		t.Errorf("%+v", open[0])
	}
}

// An erasure that was interrupted makes another one of the same backup wait, without a time.
func TestHistoryWaitsForInterrupted(t *testing.T) {
	w := newPast(t)
	w.mustHistory()
	w.later(2 * day)
	was := w.only()
	other := repository.NewErasure(repository.NewID(), anneName, w.until.Add(day))
	other.State, other.IDs, other.Since = repository.ErasureRemoving, was.IDs, w.now
	if _, err := other.Put(t.Context(), w.mem, ""); err != nil {
		t.Fatal(err)
	}
	swept, err := erasure.SweepHistory(t.Context(), w.config(), was, w.historyOptions().Forget)
	if err != nil || !strings.Contains(swept.Waiting, "was interrupted") || !swept.Until.IsZero() {
		t.Errorf("%+v, %v", swept, err)
	}
}

// The bodies of a former backup of the name are left, perhaps for years. The history of the present one can be erased.
func TestHistoryBesideFormerBackup(t *testing.T) {
	w := newPast(t)
	e := repository.NewErasure(repository.NewID(), anneName, time.Time{})
	e.State, e.IDs, e.Since, e.Removed = repository.ErasurePending, []string{repository.NewID()}, w.now.Add(-20*day), w.now.Add(-20*day)
	if _, err := e.Put(t.Context(), w.mem, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := w.tryHistory(); err != nil {
		t.Error(err)
	}
}
