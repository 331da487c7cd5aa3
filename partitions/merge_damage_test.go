package partitions_test

import (
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// A damaged or missing segment costs the changes of its day, and no mail: a repair bridges it,
// the next sync completes the state, and compaction continues.
func TestSegmentDamaged(t *testing.T) {
	for name, damage := range map[string]func(s *memstore.Store, key string){
		"changed":   func(s *memstore.Store, key string) { s.Flip(key, 60) },
		"truncated": func(s *memstore.Store, key string) { s.Truncate(key, 90) },
		"deleted":   func(s *memstore.Store, key string) { s.Lose(key) },
	} {
		t.Run(name, func(t *testing.T) {
			c := &clocked{now: time.Date(2026, 11, 2, 8, 0, 0, 0, time.UTC)}
			store := memstore.New(c.clock)
			h := newHostWith(t, c.options, store)
			inbox := newSource("user.anne")
			for day := range 7 {
				for i := range 3 {
					inbox.deliver(mail(10*day+i, 500))
					h.sync("anne", inbox)
				}
				c.now = c.now.Add(24 * time.Hour)
			}
			compacted(t, store, c.clock)
			key := history.SegmentKey("user/anne", 4, 6)
			if store.Bytes(key) == nil {
				t.Fatalf("no segment %s in %q", key, store.Keys("backups/"))
			}
			damage(store, key)
			_, err := verify.Repair(t.Context(), found(t, store), verify.RepairOptions{Problem: func(verify.Problem) {}, Report: func(verify.Change) {},
				Lock: repository.LockOptions{Owner: "test", Host: "host", Now: c.clock}, Others: []repository.Config{{Name: "p0", Store: store}}})
			if err != nil {
				t.Fatal(err)
			}
			h.sync("anne", inbox)
			h.expectSame("anne", inbox)
			newHostWith(t, c.options, store).expectSame("anne", inbox)
			m := load(t, store, "user/anne")
			defer m.Close()
			if err := inbox.differs(m); err != nil {
				t.Error(err)
			}
			_, err = verify.Run(t.Context(), found(t, store), verify.Options{Report: func(p verify.Problem) {
				if !p.Lost {
					t.Errorf("verify after the repair: %s", p)
				}
			}})
			if err != nil {
				t.Error(err)
			}
			c.now = c.now.AddDate(0, 0, 5)
			if job := compacted(t, store, c.clock); job.Removed == 0 {
				t.Error("compaction does not continue after the repair")
			}
			checkBucket(t, store, "user/anne", inbox).Close()
		})
	}
}
