package partitions_test

import (
	"crypto/sha1"
	"testing"

	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// Two packs have a message in common, and one of them is stored under the name of the other
// too. The message stays readable when the wrong object is removed.
func TestRepairPackUnderAnotherName(t *testing.T) {
	t.Parallel()
	store := withRepository(t)
	shared := mail(0, 300)
	owners := []string{"anne", "bob"}
	boxes := map[string]*source{}
	var packs []string
	for i, user := range owners {
		// The hosts have separate indexes, so that neither knows the pack of the other.
		h := newHostWith(t, func(o *partitions.Options) { o.InlineLimit = 1 }, store)
		boxes[user] = newSource("user." + user)
		boxes[user].deliver(shared)
		boxes[user].deliver(mail(i+1, 300))
		before := store.Keys("packs/")
		h.sync(user, boxes[user])
		for _, key := range store.Keys("packs/") {
			if len(before) == 0 || key != before[0] {
				packs = append(packs, key)
			}
		}
	}
	if len(packs) != 2 {
		t.Fatalf("%q, want a pack of each user", packs)
	}
	store.Copy(packs[0], packs[1])
	f, err := repository.FindPath(t.Context(), repository.Config{Name: "p0", Store: store}, "user/bob")
	if err != nil {
		t.Fatal(err)
	}
	var waits int
	_, err = verify.Repair(t.Context(), f, verify.RepairOptions{Problem: func(verify.Problem) {}, Report: func(r verify.Change) {
		if r.Outcome == verify.Waits {
			waits++
		}
	}})
	if err != nil || waits != 1 {
		t.Fatalf("%d messages are requested from the mail server, want the other one of bob: %v", waits, err)
	}
	var left int
	_, err = verify.Run(t.Context(), f, verify.Options{Report: func(verify.Problem) { left++ }})
	if err != nil || left != 1 {
		t.Fatalf("%d problems after the repair, want the requested message: %v", left, err)
	}
	checkBucket(t, store, "user/anne", boxes["anne"])
	bob := load(t, store, "user/bob")
	defer bob.Close()
	if m, err := bob.Message(sha1.Sum(shared)); err != nil || m == nil || m.Missing {
		t.Errorf("the shared message of bob: %+v, %v", m, err)
	}
}
