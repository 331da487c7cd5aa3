package erasure_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// An erasure that can be completed is not cancelled, although its backup is gone, or another one has its name.
func TestCancelCompletable(t *testing.T) {
	for _, with := range []string{"nothing", "new backup"} {
		t.Run(with, func(t *testing.T) {
			w := interruptedHistory(t)
			w.erase()
			w.later(hour)
			if with == "new backup" {
				w.commit("anne", map[int]string{108: ""})
			}
			w.later(hour)
			if _, err := erasure.CancelHistory(t.Context(), w.config(), w.ofHistory().ID, w.lock()); err == nil || !strings.Contains(err.Error(), "can be completed") {
				t.Errorf("%v", err)
			}
		})
	}
}

// The backup is removed by the means of a store that keeps versions. Those of its log go, too.
func TestHistoryLogVersions(t *testing.T) {
	for _, with := range []string{"nothing", "new backup"} {
		t.Run(with, func(t *testing.T) {
			w := interruptedHistory(t)
			for _, key := range w.mem.Keys("backups/user/anne/") {
				if err := w.mem.Delete(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
			w.later(hour)
			if with == "new backup" {
				w.commit("anne", map[int]string{108: ""})
			}
			w.later(hour)
			if err := w.sweep(); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				w.later(15 * hour)
				_ = w.tryFinish()
			}
			if left := w.needles(); len(left) > 0 || len(w.open()) > 0 {
				t.Errorf("open: %d, the needle is in %q", len(w.open()), left)
			}
			if with == "new backup" {
				w.check("anne", 108)
			}
		})
	}
}

// The list of packs is lost, and the store keeps no versions. The erasure can be cancelled, and begun again.
func TestHistoryListLost(t *testing.T) {
	w := newPast(t)
	w.mustHistory()
	w.put(repository.ErasurePacksKey(w.only().ID), []byte("damaged"))
	w.later(15 * hour)
	if _, err := erasure.Listed(t.Context(), w.config(), w.open()); err == nil || !strings.Contains(err.Error(), "--cancel") {
		t.Errorf("%v", err)
	}
	if _, err := erasure.CancelHistory(t.Context(), w.config(), w.only().ID, w.lock()); err != nil {
		t.Fatal(err)
	}
	if _, all, err := erasure.Keep(w.config(), nil, w.here)(t.Context()); all || err != nil {
		t.Errorf("no pack is rewritten: %t, %v", all, err)
	}
}

// An erasure has put a pack, but not the segment that names it, and is then ended. The pack goes, too.
func TestHistoryAnnouncedPack(t *testing.T) {
	w := newPast(t)
	before := w.mem.Keys("packs/")
	w.fails(0, func(op, key string) bool {
		return op == "put" && strings.Contains(key, "/log/") && strings.Contains(key, "-")
	})
	if _, err := w.tryHistory(); err == nil || w.only().State != repository.ErasureBegun {
		t.Fatalf("%v, %+v", err, w.only())
	}
	announced := slices.DeleteFunc(w.mem.Keys("packs/"), func(k string) bool { return slices.Contains(before, k) })
	if len(announced) == 0 {
		t.Fatal("no pack was put: this test covers nothing")
	}
	w.store = w.mem
	w.later(hour)
	if err := w.sweep(); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Fatalf("%v", err)
	}
	if err := w.found("anne").CheckErasures(t.Context()); err != nil {
		t.Errorf("%v", err)
	}
	w.later(hour)
	w.mustHistory()
	for range 3 {
		w.later(15 * hour)
		w.finish()
	}
	w.complete()
}

// Two hosts find the same erasure due. What the first one leaves for daemons, the second leaves, too.
func TestHistorySweptTwice(t *testing.T) {
	w := newPast(t)
	late := w.lateCheckpoint()
	w.mustHistory()
	w.later(15 * hour)
	late()
	was := w.only()
	first, err := erasure.SweepHistory(t.Context(), w.config(), was, w.historyOptions().Forget)
	if err != nil || !first.Appeared {
		t.Fatalf("%+v, %v", first, err)
	}
	blocks := w.mem.Keys("backups/user/anne/records/")
	w.later(hour)
	second, err := erasure.SweepHistory(t.Context(), w.config(), was, w.historyOptions().Forget)
	if err != nil || second.Complete() {
		t.Errorf("%+v, %v", second, err)
	}
	if now := w.mem.Keys("backups/user/anne/records/"); !slices.Equal(now, blocks) {
		t.Errorf("objects that a daemon may be using are gone: %d of %d are left", len(now), len(blocks))
	}
}

// lateCheckpoint returns a function that puts a checkpoint of the state now, as a slow daemon does.
func (w *past) lateCheckpoint() func() {
	m, err := w.found("anne").Load(w.t.Context(), history.Moment{})
	if err != nil {
		w.t.Fatal(err)
	}
	return func() {
		w.t.Helper()
		_, err := m.AddCheckpoint(w.t.Context(), pack.Options{}, func() error { return nil })
		if err = errors.Join(err, m.Close()); err != nil {
			w.t.Fatal(err)
		}
	}
}

// A request of a dead process to put the list of packs arrives late. It takes no pack off the list.
func TestHistoryListArrivesLate(t *testing.T) {
	w := newPast(t)
	f := faultstore.New(w.mem)
	w.store = f
	f.Add(faultstore.Fault{Late: true, Match: func(op, key string) bool { return op == "put" && strings.HasSuffix(key, ".packs.zst") }})
	w.mustHistory()
	w.store = w.mem
	w.put(w.mixed, append(slices.Clone(w.mem.Bytes(w.mixed)), "damage"...))
	if _, err := verify.Repair(t.Context(), w.found("bert"), w.repairOptions()); err != nil {
		t.Fatal(err)
	}
	key := repository.ErasurePacksKey(w.only().ID)
	list := w.mem.Bytes(key)
	if n := f.Deliver(t.Context()); n == 0 {
		t.Fatal("no request arrives late: this test covers nothing")
	}
	if !bytes.Equal(list, w.mem.Bytes(key)) {
		t.Error("the list has changed")
	}
}

// The bucket is copied while an erasure waits: every object has a new time. Blocks with the content are still removed.
func TestHistoryOfCopiedBucket(t *testing.T) {
	w := newPast(t)
	w.mustHistory()
	w.later(20 * hour)
	for _, key := range w.mem.Keys("") {
		w.put(key, w.mem.Bytes(key))
	}
	w.later(hour)
	for range 4 {
		w.finish()
		w.later(15 * hour)
	}
	w.forgotten()
	for _, key := range w.needles() {
		if w.has(key) && bytes.Contains(plain(w.mem.Bytes(key)), []byte(needle)) {
			t.Errorf("the needle is in %s", key)
		}
	}
	if open := w.open(); len(open) > 0 {
		t.Errorf("%+v", open[0])
	}
}
