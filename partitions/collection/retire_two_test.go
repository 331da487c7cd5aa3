package collection_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A second collector, without a lease, runs whole between any two requests of the first. With copied, a copy of a backup
// that names the pack is completed there before: its note stays, or the list shows that it may go.
func TestTwoCollectorsRetire(t *testing.T) {
	w := newWorld(t)
	gone := w.unneeded()
	w.untilEnding(gone)
	w.later(25 * hour)
	start, at := w.mem.Snapshot(), w.now
	for _, copied := range []bool{false, true} {
		for n, more, allowed := rand.IntN(3), true, false; more; n += 3 {
			w.mem.Rollback(start, "", false)
			w.now, w.cache, w.store, more, allowed = at, "", w.mem, false, false
			s := faultstore.New(w.mem)
			s.Add(faultstore.Fault{Match: aboutNotes, Skip: n, Count: 1, Call: func(string, string) {
				more = true
				lease := w.mem.Bytes(repository.CollectionKey)
				w.mem.Lose(repository.CollectionKey)
				if copied {
					began := w.now
					w.noteMoved(gone, w.pack(1), 1)
					w.commit("bert", map[int]string{1: gone})
					_, err := repository.KeepNotes(t.Context(), w.mem, began, w.now, func(pack string) bool { return pack == gone })
					if allowed = err == nil; !allowed && !errors.Is(err, repository.ErrNoteEnds) {
						t.Error(err)
					}
				}
				w.collect()
				if lease != nil {
					w.put(repository.CollectionKey, lease)
				}
			}})
			part := w.config()
			part.Store = s
			_, _ = collection.Collect(t.Context(), part, w.options())
			begun := !w.retired()[gone].Removed.IsZero()
			if !w.has(noteOf(gone)) && !begun {
				t.Fatalf("request %d: the note is gone, and the list does not show it", n)
			}
			if copied && !begun && more && !allowed {
				t.Fatalf("request %d: the copy failed, although no removal has begun", n)
			}
			if allowed {
				w.check("bert")
			}
			w.later(25 * hour)
			w.collectFor(2)
			w.collect()
			w.check("anne")
			if allowed {
				w.check("bert")
			}
			if !copied && w.has(noteOf(gone)) {
				t.Fatalf("request %d: not removed", n)
			}
		}
	}
}
