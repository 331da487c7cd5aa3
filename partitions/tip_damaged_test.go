package partitions_test

import (
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// The newest commit is damaged or lost, and a checkpoint contains its state. The state can be
// read without the commit, but no later commit can be confirmed. The log continues after a
// bridge.
func TestDamagedNewestCommitWithCheckpoint(t *testing.T) {
	for _, index := range []string{"lost", "kept", "kept, daemon running"} {
		for damage, do := range map[string]func(*memstore.Store){
			"flipped": func(s *memstore.Store) { s.Flip(history.LogKey("user/anne", 6), 600) },
			"removed": func(s *memstore.Store) { s.Lose(history.LogKey("user/anne", 6)) },
		} {
			t.Run(damage+", index "+index, func(t *testing.T) {
				t.Parallel()
				newestIsDamaged(t, index, do)
			})
		}
	}
}

func newestIsDamaged(t *testing.T, index string, damage func(*memstore.Store)) {
	l := newLogged(t, shortWait)
	checkpoint(t, l.store)
	damage(l.store)
	switch index {
	case "lost":
		l.host.removeIndex()
	case "kept":
		l.host.stop()
		l.host.start()
	}
	c := l.host.client()
	done := make(chan error, 1)
	go func() { done <- c.s.ApplySub(t.Context(), "anne", "user.anne", true) }()
	select {
	case err := <-done:
		deferredOnly(t, err)
	case <-time.After(10 * time.Second):
		t.Fatal("a command does not return")
	}
	c.s.Close()
	l.heals(t, l.host)
	before := len(objects(t, l.store, annesLog))
	for range 3 {
		l.host.expectSame("anne", l.boxes...)
	}
	if got := len(objects(t, l.store, annesLog)); got != before {
		t.Errorf("opening the backup made %d more commits", got-before)
	}
}

// A repair was interrupted after it had taken the lock. Its commit has no prev, since the
// previous commit is unreadable, and there is no newer checkpoint.
func TestCommitAfterDamagedNewest(t *testing.T) {
	for _, index := range []string{"lost", "kept"} {
		t.Run(index, func(t *testing.T) {
			t.Parallel()
			l := newLogged(t, nil)
			checkpoint(t, l.store)
			l.store.Flip(history.LogKey("user/anne", 6), 600)
			if err := lock(t, found(t, l.store), repository.LockOptions{}).Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			if index == "lost" {
				l.host.removeIndex()
			}
			c := l.host.client()
			_, _, err := c.getUser("anne")
			c.s.Close()
			if err != nil {
				t.Fatal(err)
			}
			l.host.sync("anne", l.boxes...)
			l.host.expectSame("anne", l.boxes...)
			l.host.expectSame("bert", l.bystander)
		})
	}
}
