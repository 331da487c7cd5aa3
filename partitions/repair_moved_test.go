package partitions_test

import (
	"testing"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/transfer"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// A pack of a copied backup is damaged and rewritten. The places of the backup name packs of its
// former partition, and the notes about these lead to the rewritten pack.
func TestRepairPackOfCopiedBackup(t *testing.T) {
	store := withRepository(t)
	h := newHostWith(t, func(o *partitions.Options) { o.InlineLimit = 1 }, store)
	box := newSource("user.anne")
	for i := range 4 {
		box.deliver(noise(uint64(i+1), 300<<10)) // none shares a frame
	}
	h.sync("anne", box)
	h.stop()
	find := func(s *memstore.Store) *repository.Found {
		t.Helper()
		f, err := repository.FindPath(t.Context(), repository.Config{Name: "p0", Store: s}, "user/anne")
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	out := newStore()
	target := newHost(t, out)
	if _, err := transfer.Copy(t.Context(), find(store), target.set.Partitions()[0], nil); err != nil {
		t.Fatal(err)
	}
	target.stop()
	packs := out.Keys("packs/")
	if len(packs) != 1 {
		t.Fatalf("%d packs", len(packs))
	}
	out.Flip(packs[0], 5000) // in the first message
	lost, o := 0, verify.RepairOptions{Problem: func(verify.Problem) {}, Report: func(r verify.Change) { t.Log(r) }}
	if _, err := verify.Repair(t.Context(), find(out), o); err != nil {
		t.Fatal(err)
	}
	if out.Bytes(packs[0]) != nil {
		t.Fatal("the pack was not rewritten")
	}
	if _, err := verify.Run(t.Context(), find(out), verify.Options{Report: func(p verify.Problem) { t.Log(p); lost++ }}); err != nil {
		t.Fatal(err)
	}
	if lost != 1 {
		t.Errorf("%d messages are lost, want the damaged one only", lost)
	}
}
