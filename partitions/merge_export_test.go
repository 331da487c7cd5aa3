package partitions_test

import (
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/transfer"
)

// An export is stopped before each of its requests in turn, while everything is merged. The
// copy is complete, also if it has a part of the log from before the merge.
func TestExportDuringMerge(t *testing.T) {
	for _, again := range []bool{false, true} {
		for n := firstCall() - 1; ; n += stride() {
			c := &clocked{now: time.Date(2026, 11, 2, 8, 0, 0, 0, time.UTC)}
			store, out := memstore.New(c.clock), memstore.New(c.clock)
			h, target := newHostWith(t, c.options, store), newHostWith(t, c.options, out)
			export := func(s objstore.Store) error {
				f := found(t, store)
				f.Partition.Store = s
				_, err := transfer.Copy(t.Context(), f, target.set.Partitions()[0], nil)
				return err
			}
			inbox := newSource("user.anne")
			for range 2 {
				for range 3 {
					inbox.deliver(mail(int(inbox.lastUID), 500))
					h.sync("anne", inbox)
				}
				c.now = c.now.Add(24 * time.Hour)
				if again {
					if err := export(store); err != nil {
						t.Fatal(err)
					}
				}
			}
			inbox.deliver(mail(100, 500))
			h.sync("anne", inbox)
			c.now = c.now.AddDate(0, 0, 4)
			s := faultstore.New(store)
			s.Add(faultstore.Fault{Skip: n, Count: 1, Call: func(string, string) { compacted(t, store, c.clock) }})
			err := export(s)
			struck := s.Struck()
			if err != nil {
				t.Fatalf("merged before request %d: %v", n, err)
			}
			checkBucket(t, out, "user/anne", inbox).Close()
			noDamage(t, out)
			target.stop()
			h.stop()
			if struck == 0 {
				break
			}
		}
	}
}
