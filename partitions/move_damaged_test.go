package partitions_test

import (
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// A backup with a lost commit can be moved only after a bridge names that commit.
func TestMoveOfBridgedBackup(t *testing.T) {
	for _, damage := range []string{"lost", "flipped"} {
		t.Run(damage, func(t *testing.T) {
			t.Parallel()
			w, a := inTwo(t)
			w.news(a)
			from, to := w.home(), w.other()
			store := w.stores[0]
			if from.Partition.Name == "p1" {
				store = w.stores[1]
			}
			newest, err := from.Log().Newest(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			key := history.LogKey(w.path(), newest-1)
			if damage == "lost" {
				store.Lose(key)
			} else {
				store.Flip(key, 300)
			}
			if err := w.move(to); err == nil || !strings.Contains(err.Error(), "verify --repair "+w.who) {
				t.Fatalf("a move of a log with a hole: %v", err)
			}
			a.removeIndex() // the daemon finds and bridges the damage, and the source sends everything
			a.sync(w.who, w.boxes...)
			w.mustMove(to)
			a.sync(w.who, w.boxes...)
			a.expectSame(w.who, w.boxes...)
			f := w.home()
			if f.Partition.Name != to {
				t.Errorf("the backup is in %s", f.Partition.Name)
			}
			checkBucket(t, f.Partition.Store, w.path(), w.boxes...).Close()
		})
	}
}
