package partitions_test

import (
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// A backup with a bridged log is verified while a daemon writes a checkpoint. The checkpoint
// did not exist when the objects were listed, and the log alone lacks messages. verify must not
// report the messages of the checkpoint as damaged.
func TestCheckpointDuringVerify(t *testing.T) {
	t.Parallel()
	store := withRepository(t)
	h := newHostWith(t, func(o *partitions.Options) { o.InlineLimit, o.NoCheckpoints = 1, true }, store)
	box := newSource("user.anne")
	deliver := func(i int) {
		box.deliver(mail(i, 300))
		h.sync("anne", box)
	}
	checkpoint := func() {
		m := load(t, store, "user/anne")
		defer m.Close()
		if _, err := m.WriteCheckpoint(t.Context(), h.opt.Pack); err != nil {
			t.Fatal(err)
		}
	}
	deliver(1)
	deliver(2)
	deliver(3)
	checkpoint()
	store.Flip("backups/user/anne/log/0000000000000002.tar.zst", 20)
	f, err := repository.FindPath(t.Context(), repository.Config{Name: "p0", Store: store}, "user/anne")
	if err != nil {
		t.Fatal(err)
	}
	_, err = verify.Repair(t.Context(), f, verify.RepairOptions{Problem: func(verify.Problem) {}, Report: func(verify.Change) {}})
	if err != nil {
		t.Fatal(err)
	}
	deliver(4)
	_, err = verify.Run(t.Context(), f, verify.Options{
		Step: func(step string) {
			if strings.HasPrefix(step, "checking the chain") {
				checkpoint()
			}
		},
		Report: func(p verify.Problem) {
			if !p.Lost {
				t.Error(p)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}
