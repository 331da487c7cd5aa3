package partitions_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// logged is a user with as many commits as mailboxes, and a second user whose backup is intact.
type logged struct {
	store        *memstore.Store
	boxes        []*source
	bystander    *source
	host         *host
	commitsOfBob []string
}

const annesLog = "backups/user/anne/log/"

func newLogged(t *testing.T, set func(*partitions.Options)) *logged {
	t.Helper()
	l := &logged{store: newStore(), bystander: newSource("user.bert")}
	l.host = newHostWith(t, set, l.store)
	l.bystander.deliver(mail(99, 2000))
	l.host.sync("bert", l.bystander)
	for i, name := range []string{"user.anne", "user.anne.a", "user.anne.b", "user.anne.c", "user.anne.d", "user.anne.e"} {
		box := newSource(name)
		for n := range 3 {
			box.deliver(mail(10*i+n, 2000))
		}
		l.boxes = append(l.boxes, box)
		l.host.sync("anne", l.boxes...)
	}
	l.commitsOfBob = objects(t, l.store, "backups/user/bert/log/")
	return l
}

// heals checks that one sync of the source makes the backup whole and leaves the other user
// alone.
func (l *logged) heals(t *testing.T, h *host) {
	t.Helper()
	h.sync("anne", l.boxes...)
	h.expectSame("anne", l.boxes...)
	h.expectSame("bert", l.bystander)
	h.checkIndex("anne", l.boxes...)
	m := load(t, l.store, "user/anne") // a strict reader
	for _, box := range l.boxes {
		if err := box.differs(m); err != nil {
			t.Error(err)
		}
	}
	o := history.NewObjects(l.store, 0)
	for _, box := range l.boxes {
		for _, r := range box.records {
			checkReadable(t, m, o, r)
		}
	}
	if got := objects(t, l.store, "backups/user/bert/log/"); !slices.Equal(got, l.commitsOfBob) {
		t.Errorf("the log of another user: %v, want %v", got, l.commitsOfBob)
	}
}

func TestDamagedLogIsBridged(t *testing.T) {
	key := func(n uint64) string { return history.LogKey("user/anne", n) }
	for _, tt := range []struct {
		name   string
		damage func(s *memstore.Store)
		hole   uint64 // the number of a commit that stays missing
		newest bool   // a running daemon notices the damage
	}{
		{"a hole", func(s *memstore.Store) { s.Lose(key(3)) }, 3, false},
		{"the first lost", func(s *memstore.Store) { s.Lose(key(1)) }, 1, false},
		{"a flipped byte", func(s *memstore.Store) { s.Flip(key(3), 600) }, 0, false},
		{"the newest flipped", func(s *memstore.Store) { s.Flip(key(6), 600) }, 0, true},
		{"the newest lost", func(s *memstore.Store) { s.Lose(key(6)) }, 0, true},
		{"a hole before the newest", func(s *memstore.Store) { s.Lose(key(5)) }, 5, false},
		{"copied to another number", func(s *memstore.Store) { s.Copy(key(2), key(4)) }, 0, false},
	} {
		for _, index := range []string{"lost", "kept", "kept, daemon running"} {
			t.Run(tt.name+", index "+index, func(t *testing.T) {
				t.Parallel()
				l := newLogged(t, nil)
				tt.damage(l.store)
				switch index {
				case "lost":
					l.host.removeIndex()
				case "kept":
					l.host.stop()
					l.host.start()
				}
				if index != "lost" && !(index == "kept" && tt.hole > 0) && !tt.newest {
					// Nothing has read that part of the log yet, so the source sees its backup
					// unchanged.
					l.host.expectSame("anne", l.boxes...)
					l.host.removeIndex()
				}
				l.heals(t, l.host)
				// A rebuild of the index gives the same complete state.
				l.host.removeIndex()
				l.heals(t, l.host)
				if tt.hole > 0 && slices.Contains(objects(t, l.store, annesLog), key(tt.hole)) {
					t.Errorf("commit %d was put into a hole", tt.hole)
				}
			})
		}
	}
}

// A host that was idle while another host wrote finds a hole after the newest commit it knows.
func TestHoleIsNotFilled(t *testing.T) {
	for name, wakes := range map[string]func(h *host, ahead *time.Duration){
		"started again":          func(h *host, _ *time.Duration) { h.stop(); h.start() },
		"running, after a while": func(_ *host, ahead *time.Duration) { *ahead = 2 * time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			var ahead time.Duration
			l := newLogged(t, func(o *partitions.Options) {
				o.Now = func() time.Time { return time.Now().Add(ahead) }
			})
			other := newHost(t, l.store)
			for n := range 4 {
				l.boxes[0].deliver(mail(100+n, 2000))
				other.sync("anne", l.boxes...)
			}
			hole := history.LogKey("user/anne", 7)
			l.store.Lose(hole)
			wakes(l.host, &ahead)
			l.boxes[1].deliver(mail(110, 2000))
			l.heals(t, l.host)
			l.heals(t, other)
			if slices.Contains(objects(t, l.store, annesLog), hole) {
				t.Error("a commit was put into the hole")
			}
		})
	}
}

// After a bridge, a checkpoint is written, so that later readers do not meet the hole.
func TestCheckpointFollowsBridge(t *testing.T) {
	l := newLogged(t, nil)
	l.store.Lose(history.LogKey("user/anne", 3))
	l.host.removeIndex()
	l.heals(t, l.host)
	waitFor(t, func() bool { return len(objects(t, l.store, "backups/user/anne/checkpoints/")) > 0 })
	if m := load(t, l.store, "user/anne"); len(m.Gaps()) != 0 {
		t.Errorf("readers still cross the hole: %v", m.Gaps())
	}
}

// While a tool holds the lock, the daemon does not bridge the damage.
func TestLockedBackupIsNotBridged(t *testing.T) {
	l := newLogged(t, shortWait)
	k := lock(t, found(t, l.store), repository.LockOptions{})
	l.store.Lose(history.LogKey("user/anne", 3))
	before := objects(t, l.store, annesLog)
	l.host.removeIndex()
	c := l.host.client()
	_, err := c.sync("anne", l.boxes...)
	c.s.Close()
	deferredOnly(t, err)
	if err == nil || !strings.Contains(err.Error(), "locked") {
		t.Errorf("%v, want an error that mentions the lock", err)
	}
	if got := objects(t, l.store, annesLog); !slices.Equal(got, before) {
		t.Errorf("the log changed under the lock: %v", got)
	}
	if err := k.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.heals(t, l.host)
}
