package partitions_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// histories is a bucket in which one log has objects of several histories, because it was set back in part, and more than once.
type histories struct {
	*clocked
	t     *testing.T
	rnd   *rand.Rand
	store *memstore.Store
	at    []historyAt
	mails int
}

// historyAt is a moment to set the bucket back to.
type historyAt struct {
	bucket memstore.Snapshot
	box    *source
}

// write adds commits, a day after each other, and now and then a checkpoint or segments.
func (w *histories) write(box *source) {
	w.t.Helper()
	h := newHostWith(w.t, func(o *partitions.Options) {
		w.options(o)
		o.NoCheckpoints, o.InlineLimit = true, 1<<10
	}, w.store)
	for range 1 + w.rnd.IntN(4) {
		w.now = w.now.Add(24 * time.Hour)
		w.mails++
		box.deliver(mail(w.mails, 300+w.rnd.IntN(1000)))
		h.sync("anne", box)
		switch w.rnd.IntN(6) {
		case 0, 1:
			w.checkpoint(h)
		case 2, 3:
			w.merge()
		}
	}
	w.at = append(w.at, historyAt{w.store.Snapshot(), box.clone()})
	h.stop()
}

// checkpoint writes a checkpoint, unless the log has damage.
func (w *histories) checkpoint(h *host) {
	m, err := history.Load(w.t.Context(), w.store, "user/anne", history.Moment{})
	if err != nil {
		return
	}
	_, err = m.WriteCheckpoint(w.t.Context(), h.opt.Pack)
	if err := errors.Join(err, m.Close()); err != nil {
		w.t.Fatal(err)
	}
}

// merge merges the commits of days, as far as the log has no damage.
func (w *histories) merge() {
	f := found(w.t, w.store)
	u, err := repository.BeginUpkeep(w.t.Context(), f, repository.LockOptions{Owner: "test", Now: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
	m := maintenance.NewMerger(f.Partition, maintenance.MergeOptions{PackSize: 8 << 20, Before: maintenance.LastDay(w.now, maintenance.MinLogAge)})
	m.Add(w.t.Context(), f, u)
	if err := errors.Join(m.Flush(w.t.Context()), u.End(w.t.Context())); err != nil {
		w.t.Fatal(err)
	}
}

// mix sets a part of the objects of the log back to another moment.
func (w *histories) mix(other historyAt) {
	for _, key := range w.store.Changed(other.bucket) {
		if strings.HasPrefix(key, "backups/user/anne/") && w.rnd.IntN(2) == 0 {
			w.store.Rollback(other.bucket, key, w.rnd.IntN(4) > 0)
		}
	}
}

// repair returns what verify finds afterwards, except for what readers ignore and later compacts remove.
func (w *histories) repair() (left []string) {
	w.t.Helper()
	f, err := repository.FindPath(w.t.Context(), repository.Config{Name: "p0", Store: w.store}, "user/anne")
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = verify.Repair(w.t.Context(), f, verify.RepairOptions{
		Problem: func(p verify.Problem) { w.t.Logf("found %v", p) }, Report: func(c verify.Change) { w.t.Logf("%v", c) },
		Others: []repository.Config{f.Partition}, Lock: repository.LockOptions{Owner: "test", Now: w.clock},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = verify.Run(w.t.Context(), f, verify.Options{Report: func(p verify.Problem) {
		if !p.Lost && !p.Missing && !strings.Contains(p.Text, "compact removes it") {
			left = append(left, p.String())
		}
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	return left
}

// One repair is enough, whatever histories a log has: verify then finds nothing, and the next sync completes the backup.
func TestRepairSeveralHistories(t *testing.T) {
	t.Parallel()
	seeds := []uint64{643, 652, 51, 87, 97, 106, 158, 643, 652, 725} // which needed a second repair
	for seed := uint64(0); seed < 50 && !testing.Short() && !raceEnabled; seed++ {
		seeds = append(seeds, seed)
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			c := &clocked{time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)}
			w := &histories{clocked: c, t: t, rnd: rand.New(rand.NewPCG(seed, 0)), store: memstore.New(c.clock)}
			box := newSource("user.anne")
			w.write(box)
			for range 2 + w.rnd.IntN(4) {
				then := w.at[w.rnd.IntN(len(w.at))]
				w.store.Rollback(then.bucket, "backups/user/anne/", w.rnd.IntN(2) > 0)
				box = then.box.clone()
				w.write(box)
				w.mix(w.at[w.rnd.IntN(len(w.at))])
			}
			if left := w.repair(); len(left) > 0 {
				t.Errorf("a second repair is needed: %q", left)
			}
			h := newHostWith(t, w.options, w.store)
			h.sync("anne", box)
			h.sync("anne", box)
			checkBucket(t, w.store, "user/anne", box).Close()
		})
	}
}
