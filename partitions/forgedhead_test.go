package partitions_test

import (
	"testing"

	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// The chain of commits is only as good as its head: verify cannot see that the newest commit was
// removed, or that another one with the same number was put in its place. A daemon that has seen the
// former one notices, and its client sends the rest again.
func TestForgedHead(t *testing.T) {
	store := newStore()
	h := newHost(t, store)
	box := newSource("user.anne")
	for i := range 3 {
		box.deliver(mail(i, 300))
		h.sync("anne", box)
	}
	sound := func(when string) {
		t.Helper()
		f, err := repository.FindPath(t.Context(), repository.Config{Name: "p0", Store: store}, "user/anne")
		if err != nil {
			t.Fatal(err)
		}
		_, err = verify.Run(t.Context(), f, verify.Options{Report: func(p verify.Problem) { t.Errorf("%s: verify reports %v", when, p) }})
		if err != nil {
			t.Error(err)
		}
	}
	before := store.Snapshot()
	cut := func() {
		t.Helper()
		if err := store.Delete(t.Context(), history.LogKey("user/anne", 3)); err != nil {
			t.Fatal(err)
		}
	}
	cut()
	sound("removed")
	h.syncUntil("anne", box)
	checkBucket(t, store, "user/anne", box)

	store.Rollback(before, "", false)
	cut()
	forged := newSource("user.anne")
	forged.deliver(mail(0, 300))
	forged.deliver(mail(1, 300))
	forged.deliver([]byte("From: boss\r\n\r\nforged\r\n"))
	newHost(t, store).sync("anne", forged)
	sound("replaced")
	checkBucket(t, store, "user/anne", forged)
}
