package collection_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/transfer"
)

// copyTarget is a partition that a backup is copied to.
type copyTarget struct{ w *world }

func (d copyTarget) Config() repository.Config {
	return repository.Config{Name: "q", Location: "memory", Store: d.w.store}
}
func (d copyTarget) Repository(ctx context.Context) (*repository.Info, error) {
	return repository.ReadInfo(ctx, d.w.store)
}
func (d copyTarget) Condemned(ctx context.Context) (*history.Condemned, error) {
	c, _, err := history.ReadCondemned(ctx, d.w.store)
	return c, err
}
func (d copyTarget) Conditional() bool                             { return true }
func (d copyTarget) StoreNow(context.Context, time.Time) time.Time { return d.w.now }
func (d copyTarget) Packing() (pack.Options, int64)                { return pack.Options{}, 1 << 20 }

// missing fails a request as if a commit was merged since the list.
func missing(op, key string) error {
	return &objstore.Error{Op: op, Key: key, Err: objstore.ErrNotExist}
}

// copySlowly copies the backup of anne from w to q. The target has the pack for zoe, and removes it
// after the copy has asked for it.
func copySlowly(w, q *world, faults func(f *faultstore.Store, pack string, log func(n uint64) func(op, key string) bool)) {
	w.t.Helper()
	pack := w.pack(1, 2)
	w.commit("anne", map[int]string{1: pack})
	w.commit("anne", nil)
	q.put(pack, w.mem.Bytes(pack))
	q.commit("zoe", map[int]string{2: pack})
	f := faultstore.New(w.mem)
	faults(f, pack, func(n uint64) func(op, key string) bool {
		return func(op, key string) bool { return op == "get" && key == history.LogKey("user/anne", n) }
	})
	from := w.withInfo("anne")
	from.Partition.Store = f
	if _, err := transfer.Copy(w.t.Context(), from, copyTarget{q}, nil); err != nil {
		w.t.Fatal(err)
	}
	if q.has(pack) {
		w.t.Error("the pack was not removed: this test no longer covers its case")
	}
	q.check("anne")
	q.check("zoe")
}

// Commits are merged during an export, so that it begins again, after half a day each time.
func TestSlowTriesOfCopy(t *testing.T) {
	w, q := newWorld(t), newWorld(t)
	copySlowly(w, q, func(f *faultstore.Store, pack string, log func(n uint64) func(op, key string) bool) {
		tries := 0
		f.Add(faultstore.Fault{Skip: 1, Count: 2, Match: log(2), Before: func(op, key string) error {
			if tries++; tries == 1 {
				q.condemn(pack)
			}
			q.later(12*hour - 10*time.Minute)
			return missing(op, key)
		}})
		f.Add(faultstore.Fault{Match: log(2), Call: func(string, string) {
			if tries == 2 {
				tries++
				q.later(12*hour - 10*time.Minute)
				q.collect()
				q.nextNight()
			}
		}})
	})
}

// An erasure removes the pack hours after the first try has asked for it, and before the log names it.
// The second try does not ask for the packs of the first commit, because the target has that commit.
func TestSlowTryOfCopyBesideErasure(t *testing.T) {
	w, q := newWorld(t), newWorld(t)
	copySlowly(w, q, func(f *faultstore.Store, pack string, log func(n uint64) func(op, key string) bool) {
		f.Add(faultstore.Fault{Skip: 1, Count: 1, Match: log(1), Call: func(string, string) {
			q.condemn(pack)
			q.later(4 * hour)
			q.collectErasing(pack)
			f.Add(faultstore.Fault{Count: 1, Match: log(2), Before: missing})
		}})
	})
}

// A pass counts a backup while a move is putting it, before it has a backup.json. It is erased later: no pass misses it.
func TestErasedAfterCopy(t *testing.T) {
	w, q := newWorld(t), newWorld(t)
	w.commit("anne", map[int]string{1: ""})
	w.commit("anne", nil)
	q.commit("zoe", map[int]string{2: ""})
	q.collect()
	f, counted := faultstore.New(q.mem), false
	f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "put" && key == "backups/user/anne/backup.json" }, Call: func(string, string) {
		q.later(hour)
		q.collect()
		counted = q.has("backups/user/anne/" + "log/0000000000000002.tar.zst")
	}})
	q.store = f
	if _, err := transfer.Copy(t.Context(), w.withInfo("anne"), copyTarget{q}, nil); err != nil {
		t.Fatal(err)
	}
	if !counted {
		t.Error("the pass saw no log: this test no longer covers its case")
	}
	q.later(hour)
	q.erase("anne")
	q.nights(2, false)
}

// A copy of a log with a damaged commit is interrupted right after it. The next attempt recognizes the part that is there by
// the commits before.
func TestCopyInterruptedAfterDamage(t *testing.T) {
	for _, damaged := range []uint64{1, 3} {
		t.Run(fmt.Sprint(damaged), func(t *testing.T) {
			w, q := newWorld(t), newWorld(t)
			for n := range 4 {
				w.commit("anne", map[int]string{n + 1: ""})
			}
			w.checkpoint("anne")
			w.mem.Truncate(history.LogKey("user/anne", damaged), 60)
			f := faultstore.New(q.mem)
			q.store = f
			f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "put" && key == history.LogKey("user/anne", damaged+1) }, Before: faultstore.Denied})
			_, err := transfer.Copy(t.Context(), w.withInfo("anne"), copyTarget{q}, nil)
			if err == nil || !q.has(history.LogKey("user/anne", damaged)) || q.has(history.LogKey("user/anne", damaged+1)) {
				t.Fatalf("%v: this test no longer covers its case", err)
			}
			if _, err := transfer.Copy(t.Context(), w.withInfo("anne"), copyTarget{q}, nil); err != nil {
				t.Errorf("the next attempt: %v", err)
			}
			if !q.has(history.LogKey("user/anne", 4)) {
				t.Error("the copy lacks commit 4")
			}
		})
	}
}
