package partitions_test

import (
	"errors"
	"testing"

	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// One commit of a log belongs to another history, since the bucket was restored and newer
// objects were kept. Every object is sound. The log records that the chain is broken, and
// continues.
func TestRepairBrokenChain(t *testing.T) {
	t.Parallel()
	store := withRepository(t)
	h := newHostWith(t, func(o *partitions.Options) { o.NoCheckpoints = true }, store)
	box := newSource("user.anne")
	for i := range 3 {
		box.deliver(mail(i, 300))
		h.sync("anne", box)
	}
	then, other := store.Snapshot(), box.clone()
	other.deliver(mail(50, 300))
	newHost(t, store).sync("anne", other)
	otherHistory := store.Snapshot()
	store.Rollback(then, "", false)
	h.removeIndex()
	for i := range 3 {
		box.deliver(mail(10+i, 300))
		h.sync("anne", box)
	}
	m := load(t, store, "user/anne")
	defer m.Close()
	if _, err := m.WriteCheckpoint(t.Context(), h.opt.Pack); err != nil {
		t.Fatal(err)
	}
	store.Rollback(otherHistory, history.LogKey("user/anne", 4), true)
	f, err := repository.FindPath(t.Context(), repository.Config{Name: "p0", Store: store}, "user/anne")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	_, err = verify.Repair(t.Context(), f, verify.RepairOptions{
		Problem: func(verify.Problem) { found++ },
		Report: func(r verify.Change) {
			if r.Outcome == verify.Unchanged {
				t.Error(r)
			}
		},
	})
	if err != nil || found == 0 {
		t.Fatalf("found %d problems, %v", found, err)
	}
	h.sync("anne", box)
	_, err = verify.Run(t.Context(), f, verify.Options{Report: func(p verify.Problem) {
		if !p.Lost && !p.Missing {
			t.Error(p)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	checkBucket(t, store, "user/anne", box)
}

// The newest commit is damaged, and a checkpoint contains its state. The commit that a repair
// adds after it cannot name the damaged one, and verify must not report that as damage.
func TestRepairNewestCommitWithCheckpoint(t *testing.T) {
	t.Parallel()
	store := withRepository(t)
	h := newHostWith(t, func(o *partitions.Options) { o.NoCheckpoints = true }, store)
	box := newSource("user.anne")
	for i := range 3 {
		box.deliver(mail(i, 300))
		h.sync("anne", box)
	}
	m := load(t, store, "user/anne")
	defer m.Close()
	if _, err := m.WriteCheckpoint(t.Context(), h.opt.Pack); err != nil {
		t.Fatal(err)
	}
	store.Truncate(history.LogKey("user/anne", 3), 100)
	f, err := repository.FindPath(t.Context(), repository.Config{Name: "p0", Store: store}, "user/anne")
	if err != nil {
		t.Fatal(err)
	}
	_, err = verify.Repair(t.Context(), f, verify.RepairOptions{Problem: func(verify.Problem) {}, Report: func(r verify.Change) {
		if r.Outcome == verify.Unchanged {
			t.Error(r)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	h.sync("anne", box)
	checkBucket(t, store, "user/anne", box)
}

// A bridge names a lost commit, and the source has created its mailbox again. Then the bucket
// gets the lost commit back, because it was restored and newer objects were kept. In the log
// the mailbox now exists before the bridge, and nothing ends its resync: the hosts must learn
// that.
func TestRepairCommitThatReturns(t *testing.T) {
	t.Parallel()
	store := withRepository(t)
	h := newHostWith(t, func(o *partitions.Options) { o.NoCheckpoints = true }, store)
	box := newSource("user.anne")
	box.deliver(mail(1, 300))
	h.sync("anne", box)
	then := store.Snapshot()
	store.Flip(history.LogKey("user/anne", 1), 300)
	h.removeIndex()
	h.sync("anne", box)
	m := load(t, store, "user/anne")
	_, err := m.WriteCheckpoint(t.Context(), h.opt.Pack)
	if err := errors.Join(err, m.Close()); err != nil {
		t.Fatal(err)
	}
	store.Rollback(then, history.LogKey("user/anne", 1), true)
	f, err := repository.FindPath(t.Context(), repository.Config{Name: "p0", Store: store}, "user/anne")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	_, err = verify.Repair(t.Context(), f, verify.RepairOptions{Problem: func(verify.Problem) { found++ }, Report: func(verify.Change) {}})
	if err != nil || found == 0 {
		t.Fatalf("found %d problems, %v", found, err)
	}
	h.sync("anne", box)
	checkBucket(t, store, "user/anne", box)
	after := load(t, store, "user/anne")
	defer after.Close()
	if mb, err := after.MailboxByName("user.anne"); err != nil || mb == nil || mb.Resync != "" {
		t.Errorf("the mailbox in the bucket is %+v, %v; want no resync", mb, err)
	}
}
