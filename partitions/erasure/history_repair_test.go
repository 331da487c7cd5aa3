package erasure_test

import (
	"context"
	"slices"
	"testing"

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
			return erasure.Replaces(ctx, w.config(), lease, w.lock(), old, key)
		}}
	if _, err := verify.Repair(t.Context(), w.found("bert"), o); err != nil || now == "" || w.has(w.mixed) {
		t.Fatalf("%q: %v", now, err)
	}
	if needle := w.needles(); !slices.Contains(needle, now) {
		t.Fatalf("the repair has copied no erased message: this test no longer covers its case")
	}
	for range 3 {
		w.later(15 * hour)
		_ = w.tryFinish() // former versions of the damaged pack stay: they may be the only copies of something
	}
	for _, key := range w.needles() {
		if key != w.mixed || w.has(key) {
			t.Errorf("the needle is in %s", key)
		}
	}
	w.forgotten()
	if open := w.open(); len(open) != 1 {
		t.Errorf("the erasure is done, although versions are left: %+v", open)
	}
}
