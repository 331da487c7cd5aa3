package partitions_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// compacted merges the backup of anne.
func compacted(t *testing.T, s objstore.Store, clock func() time.Time) *maintenance.Merged {
	t.Helper()
	f := found(t, s)
	u, err := repository.BeginUpkeep(t.Context(), f, repository.LockOptions{Owner: "test", Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	m := maintenance.NewMerger(f.Partition, maintenance.MergeOptions{PackSize: 8 << 20, Before: maintenance.LastDay(clock(), maintenance.MinLogAge)})
	job := m.Add(t.Context(), f, u)
	if err := errors.Join(m.Flush(t.Context()), job.Err, u.End(context.WithoutCancel(t.Context()))); err != nil {
		t.Fatal(err)
	}
	return job
}

// clocked is the clock of a store and of its hosts, which a test sets.
type clocked struct{ now time.Time }

func (c *clocked) clock() time.Time { return c.now }

func (c *clocked) options(o *partitions.Options) {
	shortWait(o)
	o.Now = c.clock
}

// noDamage verifies the backup of anne.
func noDamage(t *testing.T, s objstore.Store) {
	t.Helper()
	_, err := verify.Run(t.Context(), found(t, s), verify.Options{Report: func(p verify.Problem) { t.Errorf("verify: %s", p) }})
	if err != nil {
		t.Error(err)
	}
}

// Daemons sync before, between and after merges: a daemon that has the backup open, one that
// was away since then, and one without an index. None sends or loses anything.
func TestDaemonsAndMerge(t *testing.T) {
	c := &clocked{now: time.Date(2026, 11, 2, 8, 0, 0, 0, time.UTC)}
	store := memstore.New(c.clock)
	a, idle := newHostWith(t, c.options, store), newHostWith(t, c.options, store)
	inbox := newSource("user.anne")
	first := inbox.deliver(mail(1, 5000))
	idle.sync("anne", inbox)
	removed := 0
	for day := range 8 {
		for i := range 4 {
			r := inbox.deliver(mail(100*day+i, 3000))
			a.sync("anne", inbox)
			inbox.flag(r, `\Seen`)
			a.sync("anne", inbox)
		}
		c.now = c.now.Add(24 * time.Hour)
		removed += compacted(t, store, c.clock).Removed
		a.expectSame("anne", inbox)
	}
	if removed < 30 {
		t.Errorf("only %d objects were removed", removed)
	}
	noDamage(t, store)
	checkBucket(t, store, "user/anne", inbox)
	fresh := newHostWith(t, c.options, store)
	for name, h := range map[string]*host{"an idle host": idle, "a host without an index": fresh} {
		t.Log(name)
		h.expectSame("anne", inbox)
		h.fetches("anne", inbox, first)
	}
	m := load(t, store, "user/anne")
	defer m.Close()
	if _, err := m.WriteCheckpoint(t.Context(), pack.Options{}); err != nil {
		t.Fatal(err)
	}
	newHostWith(t, c.options, store).fetches("anne", inbox, first)
	checkBucket(t, store, "user/anne", inbox)
	noDamage(t, store)
}

// A host slept while its request to put a commit was on the way, and the number was merged
// meanwhile. The client is not answered OK, and nothing is lost.
func TestSleeperDuringMerge(t *testing.T) {
	for _, paused := range []bool{false, true} {
		for _, bodies := range []int{1, 6} {
			t.Run(fmt.Sprintf("the machine is paused %t, %d bodies", paused, bodies), func(t *testing.T) { sleeperDuringMerge(t, paused, bodies) })
		}
	}
}

// sleeperDuringMerge begins with a commit of some bodies. Six make it so large that it is not merged.
func sleeperDuringMerge(t *testing.T, paused bool, bodies int) {
	c := &clocked{now: time.Date(2026, 11, 2, 8, 0, 0, 0, time.UTC)}
	store := memstore.New(c.clock)
	slow := faultstore.New(store)
	var logs bytes.Buffer
	begun := c.now
	logged := func(o *partitions.Options) {
		c.options(o)
		o.Now = func() time.Time {
			if paused {
				return begun
			}
			return c.now
		}
		o.Logger = slog.New(slog.NewTextHandler(&logs, nil))
		o.InlineLimit = 8 << 20
	}
	sleeper, awake := newHostWith(t, logged, slow), newHostWith(t, c.options, store)
	inbox := newSource("user.anne")
	for n := range bodies {
		inbox.deliver(slices.Concat(mail(1+100*n, 500), noise(uint64(n), 500_000)))
	}
	sleeper.sync("anne", inbox)
	mine := inbox.clone()
	mine.deliver(mail(2, 500))
	for i := range 3 {
		inbox.deliver(mail(10+i, 500))
	}
	slow.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "put" && strings.Contains(key, "/log/") }, Call: func(string, string) {
		for range 3 {
			awake.sync("anne", inbox)
			inbox.flag(inbox.records[0], `\Flagged`)
		}
		awake.sync("anne", inbox)
		c.now = c.now.AddDate(0, 0, 5)
		awake.sync("anne", inbox)
		compacted(t, store, c.clock)
	}})
	cl := sleeper.client()
	if _, err := cl.sync("anne", mine); !errors.Is(err, cyrus.ErrLocked) {
		t.Errorf("%v, want ErrLocked", err)
	}
	cl.s.Close()
	if slow.Struck() != 1 {
		t.Fatal("no commit was put")
	}
	if !strings.Contains(logs.String(), "index of this backup is made again") || strings.Contains(logs.String(), "bucket lacks commits") {
		t.Errorf("want that the index of this backup only is made again:\n%s", &logs)
	}
	paused = false
	awake.expectSame("anne", inbox)
	newHostWith(t, c.options, store).expectSame("anne", inbox)
	checkBucket(t, store, "user/anne", inbox)
	inbox.deliver(mail(3, 500))
	sleeper.sync("anne", inbox)
	awake.expectSame("anne", inbox)
	c.now = c.now.AddDate(0, 0, 5)
	compacted(t, store, c.clock)
	noDamage(t, store)
	checkBucket(t, store, "user/anne", inbox)
	if n, err := found(t, store).Log().Odd(t.Context()); err != nil || len(n) > 0 {
		t.Errorf("after another compaction: %v, %v", n, err)
	}
}
