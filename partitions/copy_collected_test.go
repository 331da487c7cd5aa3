package partitions_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/transfer"
)

// An export was interrupted after its packs. When it is repeated, collection has removed the
// packs, or removes them while the log is copied.
func TestCopyBesideCollection(t *testing.T) {
	for _, when := range []string{"before", "during"} {
		t.Run(when, func(t *testing.T) {
			w, _ := inTwo(t)
			now := time.Now()
			mem := memstore.New(func() time.Time { return now })
			out := faultstore.New(mem)
			export := func() {
				t.Helper()
				h := newHostWith(t, func(o *partitions.Options) { o.Now = func() time.Time { return now } }, out)
				defer h.stop()
				if _, err := transfer.Copy(t.Context(), w.home(), h.set.Partitions()[0], nil); err != nil {
					t.Fatal(err)
				}
			}
			export()
			for _, key := range mem.Keys("backups/") {
				mem.Lose(key)
			}
			removed := 0
			collect := func(string, string) {
				now = now.Add(26 * time.Hour)
				for _, key := range mem.Keys("packs/") {
					mem.Lose(key)
					removed++
				}
			}
			if when == "before" {
				collect("", "")
			} else {
				out.Add(faultstore.Fault{Count: 1, Call: collect, Match: func(op, key string) bool {
					return op == "put" && strings.HasPrefix(key, history.LogPrefix(w.path()))
				}})
			}
			if export(); removed == 0 {
				t.Fatal("no pack was removed: this test no longer covers its case")
			}
			checkBucket(t, mem, w.path(), w.boxes...).Close()
		})
	}
}

// A copy relies on packs that the target has, and an erasure condemns them before the log names
// them. It removes them two hours later.
func TestCopyBesideErasure(t *testing.T) {
	w, _ := inTwo(t)
	now := time.Now()
	mem := memstore.New(func() time.Time { return now })
	out := faultstore.New(mem)
	export := func() {
		t.Helper()
		h := newHostWith(t, func(o *partitions.Options) { o.Now = func() time.Time { return now } }, out)
		defer h.stop()
		if _, err := transfer.Copy(t.Context(), w.home(), h.set.Partitions()[0], nil); err != nil {
			t.Fatal(err)
		}
	}
	export()
	packs := mem.Keys("packs/")
	for _, key := range mem.Keys("backups/") {
		mem.Lose(key)
	}
	condemned := false
	out.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool {
		return op == "put" && strings.HasPrefix(key, history.LogPrefix(w.path()))
	}, Call: func(string, string) {
		now = now.Add(time.Hour)
		condemnAll(t, &clocked{now: now}, mem, packs)
		condemned = true
	}})
	if export(); !condemned || len(packs) == 0 {
		t.Fatal("no pack was condemned: this test no longer covers its case")
	}
	for _, key := range packs {
		mem.Lose(key)
	}
	checkBucket(t, mem, w.path(), w.boxes...).Close()
}
