package partitions_test

import (
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// checkpoints returns the numbers of a backup's checkpoints, newest first.
func checkpoints(t *testing.T, s objstore.Store, path string) []uint64 {
	t.Helper()
	numbers, err := (&history.Log{Store: s, Backup: path}).Checkpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return numbers
}

// growTo delivers and syncs messages one by one until there is a checkpoint with a higher
// number than the given one.
func growTo(t *testing.T, h *host, s objstore.Store, box *source, number uint64) uint64 {
	t.Helper()
	for i := range 200 {
		box.deliver(mail(1000*int(number)+i, 700))
		h.sync("anne", box)
		if n := checkpoints(t, s, "user/anne"); len(n) > 0 && n[0] > number {
			return n[0]
		}
	}
	t.Fatal("no checkpoint after 200 commits")
	return 0
}

// A checkpoint starts from the previous one and lists nothing. If the previous checkpoint is
// lost, the next one is still written.
func TestCheckpointsDoNotList(t *testing.T) {
	under := newStore()
	s, n := counted(under)
	h := newHostWith(t, func(o *partitions.Options) { o.CheckpointObject = 4 }, s)
	box := newSource("user.anne")
	h.sync("anne", box)
	n.Reset()
	first := growTo(t, h, under, box, 0)
	second := growTo(t, h, under, box, first)
	if l := n.Snapshot()["list"].Ops; l != 0 {
		t.Errorf("two checkpoints made %d lists", l)
	}
	if err := under.Delete(t.Context(), history.CheckpointKey("user/anne", second)); err != nil {
		t.Fatal(err)
	}
	growTo(t, h, under, box, second)
	checkBucket(t, under, "user/anne", box)
}
