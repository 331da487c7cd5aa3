package partitions_test

import (
	"testing"

	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// Two checkpoints share a block, and another object with blocks is copied over the object with
// that block: a sound container without the block. Both checkpoints are rebuilt.
func TestRepairSharedBlocks(t *testing.T) {
	t.Parallel()
	store := withRepository(t)
	h := newHostWith(t, func(o *partitions.Options) { o.InlineLimit, o.NoCheckpoints = 1, true }, store)
	boxes := []*source{newSource("user.anne"), newSource("user.anne.Other")}
	for i, b := range boxes {
		b.deliver(mail(i, 300))
		h.sync("anne", boxes[:i+1]...)
		m := load(t, store, "user/anne")
		if _, err := m.WriteCheckpoint(t.Context(), h.opt.Pack); err != nil {
			t.Fatal(err)
		}
		m.Close()
	}
	keys := store.Keys(history.RecordsPrefix("user/anne"))
	if len(keys) != 2 {
		t.Fatalf("%q, want an object with blocks for each checkpoint", keys)
	}
	store.Copy(keys[1], keys[0])
	f, err := repository.FindPath(t.Context(), repository.Config{Name: "p0", Store: store}, "user/anne")
	if err != nil {
		t.Fatal(err)
	}
	_, err = verify.Repair(t.Context(), f, verify.RepairOptions{Problem: func(verify.Problem) {}, Report: func(r verify.Change) {
		if r.Outcome != verify.Repaired {
			t.Error(r)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = verify.Run(t.Context(), f, verify.Options{Report: func(p verify.Problem) { t.Error(p) }})
	if err != nil {
		t.Fatal(err)
	}
	checkBucket(t, store, "user/anne", boxes...)
}
