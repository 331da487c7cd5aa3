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

// The log loses the commit at which an interrupted move has ended. The next commit has its hash,
// so the move goes on, and the newer copy of the commit stays.
func TestMoveAfterItsLastCommitWasLost(t *testing.T) {
	for _, damage := range []string{"lost", "flipped"} {
		t.Run(damage, func(t *testing.T) {
			t.Parallel()
			w, a := inTwo(t)
			w.news(a)
			from, to := w.home(), w.other()
			source, target := w.stores[0], w.stores[1]
			if from.Partition.Name == "p1" {
				source, target = target, source
			}
			newest, err := from.Log().Newest(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			last := history.LogKey(w.path(), newest)
			target.SetFaults(nil, func(op, key string) error {
				if op == "put" && key == last {
					return errDenied
				}
				return nil
			})
			if err := w.move(to); err == nil {
				t.Fatal("the move was not interrupted")
			}
			target.SetFaults(nil, nil)
			w.news(a)
			if damage == "lost" {
				source.Lose(last)
			} else {
				source.Flip(last, 300)
			}
			a.removeIndex()
			a.sync(w.who, w.boxes...)
			w.mustMove(to)
			a.sync(w.who, w.boxes...)
			a.expectSame(w.who, w.boxes...)
			checkBucket(t, w.home().Partition.Store, w.path(), w.boxes...).Close()
		})
	}
}
