package partitions_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// A backup with a lost commit can be moved only after a bridge names that commit.
func TestMoveOfBridgedBackup(t *testing.T) {
	for _, damage := range []string{"lost", "flipped"} {
		t.Run(damage, func(t *testing.T) {
			t.Parallel()
			w, a := inTwo(t)
			w.news(a)
			to := w.other()
			w.damage(damage, w.newest()-1)
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
			to, newest := w.other(), w.newest()
			source, target := w.stores[0], w.stores[1]
			if to == "p0" {
				source, target = target, source
			}
			last, next := history.LogKey(w.path(), newest), history.LogKey(w.path(), newest+1)
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
			w.damage(damage, newest)
			a.removeIndex()
			a.sync(w.who, w.boxes...)
			source.SetFaults(func(op, key string) error {
				if op == "get" && key == next {
					return errDenied
				}
				return nil
			}, nil)
			if err := w.move(to); !errors.Is(err, errDenied) {
				t.Errorf("a move that cannot read the next commit: %v", err)
			}
			source.SetFaults(nil, nil)
			w.mustMove(to)
			a.sync(w.who, w.boxes...)
			a.expectSame(w.who, w.boxes...)
			checkBucket(t, w.home().Partition.Store, w.path(), w.boxes...).Close()
		})
	}
}

// damage makes a commit of the backup in use unreadable: "lost" or "flipped".
func (w *two) damage(how string, commit uint64) {
	w.t.Helper()
	s, key := w.home().Partition.Store.(*memstore.Store), history.LogKey(w.path(), commit)
	if how == "lost" {
		s.Lose(key)
	} else {
		s.Flip(key, 300)
	}
}
