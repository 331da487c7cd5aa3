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

// logged is a user with as many commits as folders, and one without trouble.
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

// heals checks that one sync of the source makes the backup whole, and that nobody else noticed.
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

func TestDamagedLogsAreBridged(t *testing.T) {
	key := func(n uint64) string { return history.LogKey("user/anne", n) }
	for _, tt := range []struct {
		name   string
		damage func(s *memstore.Store)
		hole   uint64 // stays one for ever
		newest bool   // a running daemon notices
	}{
		{"a hole", func(s *memstore.Store) { s.Lose(key(3)) }, 3, false},
		{"the first one lost", func(s *memstore.Store) { s.Lose(key(1)) }, 1, false},
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
					// Nothing has read that part of the log yet: the source finds all as it was.
					l.host.expectSame("anne", l.boxes...)
					l.host.removeIndex()
				}
				l.heals(t, l.host)
				// Whoever makes the index again finds the same, whole.
				l.host.removeIndex()
				l.heals(t, l.host)
				if tt.hole > 0 && slices.Contains(objects(t, l.store, annesLog), key(tt.hole)) {
					t.Errorf("commit %d was put into a hole", tt.hole)
				}
			})
		}
	}
}

// A host that was away while another one wrote meets a hole behind the commit that it knows.
func TestNothingIsPutIntoAHole(t *testing.T) {
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

// Two hosts find the same damage; a checkpoint spares later readers the hole.
func TestABridgeIsFollowedByACheckpoint(t *testing.T) {
	l := newLogged(t, nil)
	l.store.Lose(history.LogKey("user/anne", 3))
	l.host.removeIndex()
	l.heals(t, l.host)
	waitFor(t, func() bool { return len(objects(t, l.store, "backups/user/anne/checkpoints/")) > 0 })
	if m := load(t, l.store, "user/anne"); len(m.Gaps()) != 0 {
		t.Errorf("readers still cross the hole: %v", m.Gaps())
	}
}

// A tool has the lock: the daemon leaves the damage to it.
func TestALockedBackupIsNotBridged(t *testing.T) {
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
		t.Errorf("%v, want that it is locked", err)
	}
	if got := objects(t, l.store, annesLog); !slices.Equal(got, before) {
		t.Errorf("the log changed under the lock: %v", got)
	}
	if err := k.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.heals(t, l.host)
}
