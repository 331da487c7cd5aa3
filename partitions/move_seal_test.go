package partitions_test

import (
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// A backup has moved away and back, and the commit whose seal led back is lost. Its log has an older
// seal, which names the other partition, although the backup has left that one. A host that builds
// its index, or a repair, puts the seal again with the bridge: otherwise the backup counts as half
// moved, and the client is refused for good.
func TestLostSeal(t *testing.T) {
	for damage, do := range map[string]func(*memstore.Store, string){
		"lost":    (*memstore.Store).Lose,
		"flipped": func(s *memstore.Store, key string) { s.Flip(key, 300) },
	} {
		for by, heal := range map[string]func(*two, *host){
			"host":   func(_ *two, a *host) { a.removeIndex() },
			"repair": func(w *two, _ *host) { w.repair() },
		} {
			t.Run(damage+", by "+by, func(t *testing.T) {
				t.Parallel()
				w, a := inTwo(t)
				w.lease = time.Minute
				first := w.home().Partition.Name
				w.mustMove(w.other())
				w.news(a)
				w.mustMove(first)
				seal := w.newest()
				w.news(a)
				w.news(a)
				do(w.home().Partition.Store.(*memstore.Store), history.LogKey(w.path(), seal))
				heal(w, a)
				a.sync(w.who, w.boxes...)
				a.expectSame(w.who, w.boxes...)
				if at := w.home().Partition.Name; at != first {
					t.Errorf("the backup is in %s, want %s", at, first)
				}
				w.news(a)
				// The copy that the move has left has the lost commit, and the next one has its hash.
				w.mustMove(w.other())
				a.sync(w.who, w.boxes...)
				a.expectSame(w.who, w.boxes...)
				checkBucket(t, w.home().Partition.Store, w.path(), w.boxes...).Close()
			})
		}
	}
}

// newest returns the number of the newest commit.
func (w *two) newest() uint64 {
	w.t.Helper()
	n, err := w.home().Log().Newest(w.t.Context(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// repair runs ctl_backups verify --repair.
func (w *two) repair() {
	w.t.Helper()
	_, err := verify.Repair(w.t.Context(), w.home(), verify.RepairOptions{
		Lock: repository.LockOptions{Owner: "test", Host: "tool"}, Others: w.parts(),
		Problem: func(p verify.Problem) { w.t.Logf("found: %s", p) }, Report: func(c verify.Change) { w.t.Logf("%s", c) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
}
