package partitions_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions"
)

// Large commits of many clients are not in memory at the same time, and a small one waits for none
// of them (design.md, promise 11).
func TestCommitsWaitForMemory(t *testing.T) {
	t.Parallel()
	const messages = 1500
	store := &commitHook{Store: newStore()}
	h := newHostWith(t, func(o *partitions.Options) {
		o.MemoryLimit, o.NoCheckpoints = 16<<20, true // room for two commits
		o.OutageWait, o.PatientWait = time.Minute, time.Minute
	}, store)
	var now, most atomic.Int64
	hold := make(chan struct{})
	store.fn = func() {
		n := now.Add(1)
		defer now.Add(-1)
		for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
		}
		<-hold
	}
	var all sync.WaitGroup
	users := []string{"anne", "bob", "carl", "dora", "emil", "fred"}
	for _, user := range users {
		box, c := filled("user."+user, messages), h.client()
		all.Go(func() {
			if _, err := c.sync(user, box); err != nil {
				t.Error(err)
			}
			c.s.Restart(t.Context())
		})
	}
	waitFor(t, func() bool { return now.Load() >= 2 })
	time.Sleep(100 * time.Millisecond)
	large := most.Load()
	small, c := filled("user.gina", 3), h.client()
	all.Go(func() {
		if _, err := c.sync("gina", small); err != nil {
			t.Error(err)
		}
	})
	waitFor(t, func() bool { return now.Load() > large })
	close(hold)
	all.Wait()
	if large > 2 {
		t.Errorf("%d large commits were put at the same time", large)
	}
	for _, user := range users {
		h.expectSame(user, filled("user."+user, messages))
	}
}
