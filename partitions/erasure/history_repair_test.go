package erasure_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// A pack with erased messages is damaged, and repaired before it is removed: the repair copies all its messages. The new
// pack has the same end.
func TestHistoryBesideRepair(t *testing.T) {
	w := newPast(t)
	w.mustHistory()
	was := w.mem.Bytes(w.mixed)
	w.put(w.mixed, append(slices.Clone(was), "damage"...))
	var now string
	o := verify.RepairOptions{Lock: w.lock(), Others: w.parts(), Problem: func(verify.Problem) {}, Report: func(c verify.Change) { t.Log(c) },
		Replacing: func(ctx context.Context, lease *repository.Upkeep, old, key string) error {
			now = key
			return erasure.Replaces(ctx, w.config(), lease, old, key, func(err error) { t.Error(err) })
		}}
	if _, err := verify.Repair(t.Context(), w.found("bert"), o); err != nil || now == "" || w.has(w.mixed) {
		t.Fatalf("%q: %v", now, err)
	}
	if needle := w.needles(); !slices.Contains(needle, now) {
		t.Fatalf("the repair has copied no erased message: this test no longer covers its case")
	}
	for range 3 {
		w.later(25 * hour)
		w.finish()
	}
	w.complete()
}

// A former version of a repaired pack stays while it may have the only copy of a message that somebody needs.
func TestHistoryKeepsOnlyCopy(t *testing.T) {
	w := newPast(t)
	w.commit("carl", map[int]string{200: w.mixed})
	w.mustHistory()
	sound := slices.Clone(w.mem.Bytes(w.mixed))
	w.put(w.mixed, sound)
	w.damageEntry(w.mixed, 200)
	if _, err := verify.Repair(t.Context(), w.found("bert"), w.repairOptions()); err != nil {
		t.Fatal(err)
	}
	if _, err := verify.Repair(t.Context(), w.found("carl"), w.repairOptions()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.later(25 * hour)
		_ = w.tryFinish()
	}
	there := false
	for key, b := range w.mem.All() {
		there = there || key == w.mixed && bytes.Equal(b, sound)
	}
	if !there || len(w.open()) != 1 {
		t.Errorf("the only copy is there: %t, open: %d", there, len(w.open()))
	}
}

// While an erasure is open, no other one looks for packs while a repair puts a new pack and the note that leads to it: it
// would find neither.
func TestRepairKeepsErasuresOut(t *testing.T) {
	w := newPast(t)
	w.mustHistory()
	w.put(w.mixed, append(slices.Clone(w.mem.Bytes(w.mixed)), "damage"...))
	puts := 0
	f := faultstore.New(w.mem)
	f.Add(faultstore.Fault{Match: func(op, key string) bool {
		return op == "put" && (strings.HasPrefix(key, "packs/") || strings.HasPrefix(key, "moved/"))
	}, Call: func(string, string) {
		puts++
		o := w.lock()
		o.Wait = false
		u, err := repository.BeginCollection(t.Context(), w.config(), o)
		if !errors.Is(err, repository.ErrUpkeep) {
			t.Errorf("put %d: %v", puts, err)
		}
		if err == nil {
			_ = u.End(t.Context())
		}
	}})
	found := w.found("bert")
	found.Partition.Store = f
	if _, err := verify.Repair(t.Context(), found, w.repairOptions()); err != nil || puts < 2 {
		t.Errorf("%d puts: %v", puts, err)
	}
}

// Without an erasure, a damaged pack is repaired while a collection runs.
func TestRepairWithoutErasureTakesNoLease(t *testing.T) {
	w := newPast(t)
	w.put(w.mixed, append(slices.Clone(w.mem.Bytes(w.mixed)), "damage"...))
	u, err := repository.BeginCollection(t.Context(), w.config(), w.lock())
	if err != nil {
		t.Fatal(err)
	}
	o := w.repairOptions()
	o.Lock.Wait = false
	if _, err := verify.Repair(t.Context(), w.found("bert"), o); err != nil || w.has(w.mixed) {
		t.Errorf("%v, the damaged pack is there: %t", err, w.has(w.mixed))
	}
	if err := u.End(t.Context()); err != nil {
		t.Error(err)
	}
}

// An erasure begins while a repair puts a new pack, and before it puts the note. The new pack gets on its list.
func TestErasureBeginsDuringRepair(t *testing.T) {
	w := newPast(t)
	w.put(w.mixed, append(slices.Clone(w.mem.Bytes(w.mixed)), "damage"...))
	f := faultstore.New(w.mem)
	begun := false
	f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "put" && strings.HasPrefix(key, "moved/") }, Call: func(string, string) {
		begun = true
		w.mustHistory()
	}})
	found := w.found("bert")
	found.Partition.Store = f
	if _, err := verify.Repair(t.Context(), found, w.repairOptions()); err != nil || !begun {
		t.Fatalf("begun: %t, %v", begun, err)
	}
	for range 3 {
		w.later(15 * hour)
		_ = w.tryFinish() // former versions of the damaged pack stay
	}
	for _, key := range w.needles() {
		if key != w.mixed || w.has(key) {
			t.Errorf("the needle is in %s", key)
		}
	}
}

// The same, but the repair ends after the note, before it notices the erasure. Nobody repairs the pack again, because
// nobody needs the damaged message any more.
func TestRepairDiesBesideErasure(t *testing.T) {
	w := newPast(t)
	w.commit("carl", map[int]string{200: w.mixed})
	w.damageEntry(w.mixed, 200)
	f := faultstore.New(w.mem)
	noted := false
	f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "put" && strings.HasPrefix(key, "moved/") }, Call: func(string, string) {
		noted = true
		w.mustHistory()
	}})
	f.Add(faultstore.Fault{Match: func(op, key string) bool { return noted && (op != "put" || !strings.HasPrefix(key, "moved/")) },
		Before: func(string, string) error { return errDied }})
	found := w.found("carl")
	found.Partition.Store = f
	if _, err := verify.Repair(t.Context(), found, w.repairOptions()); !errors.Is(err, errDied) || !w.has(w.mixed) {
		t.Fatalf("%v, the damaged pack is there: %t", err, w.has(w.mixed))
	}
	for _, key := range w.mem.Keys("backups/user/carl/") {
		w.mem.Lose(key)
	}
	for range 3 {
		w.later(15 * hour)
		w.finish()
	}
	w.complete()
}

var errDied = errors.New("the process has ended")

// damageEntry changes the bytes of one message in a pack.
func (w *past) damageEntry(key string, n int) {
	w.t.Helper()
	b := w.mem.Bytes(key)
	dir, err := pack.ReadDirectory(func(off, n int64) (io.ReadCloser, error) {
		if off < 0 {
			off = max(int64(len(b))+off, 0)
			n = int64(len(b)) - off
		}
		return io.NopCloser(io.NewSectionReader(bytes.NewReader(b), off, n)), nil
	}, int64(len(b)))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range dir.Entries {
		if e.Name == message(n).GUID.String()+".eml" {
			w.mem.Flip(key, int(e.Off+e.Len/2))
		}
	}
}

func (w *past) repairOptions() verify.RepairOptions {
	return verify.RepairOptions{Lock: w.lock(), Others: w.parts(), Problem: func(verify.Problem) {}, Report: func(verify.Change) {},
		Replacing: func(ctx context.Context, lease *repository.Upkeep, old, key string) error {
			return erasure.Replaces(ctx, w.config(), lease, old, key, func(err error) { w.t.Log(err) })
		}}
}
