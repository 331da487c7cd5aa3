package partitions_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

func found(t *testing.T, s objstore.Store) *repository.Found {
	t.Helper()
	f, err := repository.FindPath(t.Context(), repository.Config{Name: "p0", Store: s}, "user/anne")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func lock(t *testing.T, f *repository.Found, o repository.LockOptions) *repository.Lock {
	t.Helper()
	o.Owner = "test"
	l, err := f.Lock(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A lock blocks all daemons: on a host with the backup open, on another host, and in the middle
// of a unit of work. After the lock is released, all continue.
func TestLockBlocksWriters(t *testing.T) {
	store := newStore()
	a, b := newHostWith(t, shortWait, store), newHostWith(t, shortWait, store)
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500))
	a.sync("anne", inbox)
	b.expectSame("anne", inbox)
	middle := a.client() // has received the state, and will send a delta
	if _, _, err := middle.getUser("anne"); err != nil {
		t.Fatal(err)
	}
	inbox.deliver(mail(2, 500))
	there, _, err := middle.getUser("anne")
	if err != nil {
		t.Fatal(err)
	}
	l := lock(t, found(t, store), repository.LockOptions{})
	if _, err := middle.update(t.Context(), inbox, there, nil, map[cyrus.GUID]bool{}); !errors.Is(err, cyrus.ErrLocked) {
		t.Errorf("in the middle of a unit of work: %v, want ErrLocked", err)
	}
	middle.s.Restart(t.Context())
	for name, h := range map[string]*host{"this host": a, "the other host": b, "a new host": newHostWith(t, shortWait, store)} {
		c := h.client()
		if _, err := c.sync("anne", inbox); !errors.Is(err, cyrus.ErrLocked) {
			t.Errorf("%s: %v, want ErrLocked", name, err)
		}
		if err := c.s.ApplySub(t.Context(), "anne", "user.anne.x", true); !errors.Is(err, cyrus.ErrUnavailable) {
			t.Errorf("%s, a command for which the client is not deferred: %v, want ErrUnavailable", name, err)
		}
		c.s.Close()
	}
	if err := l.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.sync("anne", inbox)
	b.expectSame("anne", inbox)
	checkBucket(t, store, "user/anne", inbox)
}

func TestLockExcludesLocks(t *testing.T) {
	store := newStore()
	h := newHostWith(t, shortWait, store)
	h.sync("anne", newSource("user.anne"))
	f := found(t, store)
	l := lock(t, f, repository.LockOptions{})
	if _, err := f.Lock(t.Context(), repository.LockOptions{Owner: "another"}); !errors.Is(err, repository.ErrHeld) {
		t.Errorf("a second lock: %v, want ErrHeld", err)
	}
	got := make(chan error)
	go func() {
		second, err := f.Lock(t.Context(), repository.LockOptions{Owner: "patient", Wait: true})
		if err == nil {
			err = second.Release(t.Context())
		}
		got <- err
	}()
	if err := l.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Errorf("a lock that waits: %v", err)
	}
}

// A lock whose holder was killed expires by the store's clock. Daemons use that clock, too.
func TestLockOfDeadHolderExpires(t *testing.T) {
	var shift atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
	store := memstore.New(clock)
	h := newHostWith(t, func(o *partitions.Options) { shortWait(o); o.Now = clock }, store)
	inbox := newSource("user.anne")
	h.sync("anne", inbox)
	l := lock(t, found(t, store), repository.LockOptions{})
	inbox.deliver(mail(1, 500))
	c := h.client()
	if _, err := c.sync("anne", inbox); !errors.Is(err, cyrus.ErrLocked) {
		t.Fatalf("%v, want ErrLocked", err)
	}
	c.s.Close()
	shift.Store(int64(61 * time.Minute))
	h.sync("anne", inbox)
	second := lock(t, found(t, store), repository.LockOptions{Now: clock})
	if err := l.Release(t.Context()); err == nil {
		t.Error("a lost lock was released without an error")
	}
	if err := second.Release(t.Context()); err != nil {
		t.Errorf("the second lock: %v", err)
	}
}

func TestLockIsRenewed(t *testing.T) {
	store := newStore()
	newHostWith(t, shortWait, store).sync("anne", newSource("user.anne"))
	l := lock(t, found(t, store), repository.LockOptions{Lease: 2 * time.Second})
	select {
	case <-l.Lost().Done():
		t.Fatal("the lock was lost")
	case <-time.After(3 * time.Second):
	}
	if _, err := found(t, store).Lock(t.Context(), repository.LockOptions{Owner: "another"}); !errors.Is(err, repository.ErrHeld) {
		t.Errorf("after the first lease: %v, want ErrHeld", err)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// In steady state a sync costs two concurrent HEADs, before there was a lock and after a lock
// has ended.
func TestLockAddsNoRequests(t *testing.T) {
	under := newStore()
	store, count := counted(under)
	h := newHostWith(t, shortWait, store)
	inbox := newSource("user.anne")
	h.sync("anne", inbox)
	steady := func(when string) {
		t.Helper()
		count.Reset()
		h.expectSame("anne", inbox)
		n := count.Snapshot()
		if n["stat"].Requests != 2 || n["get"].Requests != 0 || n["list"].Requests != 0 {
			t.Errorf("%s: %+v", when, n)
		}
	}
	steady("before")
	if err := lock(t, found(t, under), repository.LockOptions{}).Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.expectSame("anne", inbox) // reads the lock, which has ended
	steady("after")
	o, err := under.Get(t.Context(), "backups/user/anne/lock.json", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if b, err := io.ReadAll(o); err != nil || !bytes.Contains(b, []byte(`"expires":"0001-01-01T00:00:00Z"`)) {
		t.Errorf("%s, %v", b, err)
	}
}

// Without conditional puts no lock is safe, so the tool gets none. Missing conditions in
// repository.json do not prevent a lock: the store itself decides.
func TestLockNeedsConditions(t *testing.T) {
	store := newStore()
	newHostWith(t, shortWait, store).sync("anne", newSource("user.anne"))
	b := bytes.Replace(body(t, store, "repository.json"), []byte(`"if_match": true`), []byte(`"if_match": false`), 1)
	replace(t, store, "repository.json", b)
	if _, err := found(t, deaf{store}).Lock(t.Context(), repository.LockOptions{Owner: "test"}); err == nil {
		t.Errorf("the lock was granted; repository.json is %s", b)
	}
	if err := lock(t, found(t, store), repository.LockOptions{}).Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// The only writer does not overwrite the commit that announces a lock.
func TestLockBlocksTheOnlyWriter(t *testing.T) {
	store := newStore()
	h := newHostWith(t, func(o *partitions.Options) { shortWait(o); o.Exclusive = true }, store)
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500))
	h.sync("anne", inbox)
	c := h.client()
	inbox.deliver(mail(2, 500))
	there, _, err := c.getUser("anne")
	if err != nil {
		t.Fatal(err)
	}
	l := lock(t, found(t, store), repository.LockOptions{})
	if _, err := c.update(t.Context(), inbox, there, nil, map[cyrus.GUID]bool{}); !errors.Is(err, cyrus.ErrLocked) {
		t.Errorf("while the backup is locked: %v, want ErrLocked", err)
	}
	c.s.Close()
	if err := l.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.sync("anne", inbox)
	if n := checkLog(t, store, "user/anne"); n != 3 {
		t.Errorf("the log has %d commits, want three: mailbox, lock, mailbox", n)
	}
	checkBucket(t, store, "user/anne", inbox)
}

// A renewal whose answer is lost may have taken effect, so the lock does not count as lost.
func TestLockSurvivesLostAnswer(t *testing.T) {
	store := newStore()
	newHostWith(t, shortWait, store).sync("anne", newSource("user.anne"))
	var lost, renewed atomic.Int64
	l := lock(t, found(t, store), repository.LockOptions{Lease: 3 * time.Second})
	// The answer to the put is lost, and so is the answer to the get that checks its effect.
	store.SetFaults(func(op, key string) error {
		if op == "put" && strings.HasSuffix(key, "lock.json") && lost.Load() == 2 {
			renewed.Add(1)
		}
		if op == "get" && strings.HasSuffix(key, "lock.json") && lost.Load() == 1 {
			lost.Add(1)
			return memstore.ErrInjected
		}
		return nil
	}, func(op, key string) error {
		if op == "put" && strings.HasSuffix(key, "lock.json") && lost.CompareAndSwap(0, 1) {
			return memstore.ErrInjected
		}
		return nil
	})
	waitFor(t, func() bool { return renewed.Load() > 0 || l.Lost().Err() != nil })
	if l.Lost().Err() != nil {
		t.Fatalf("the lock was lost: %v", context.Cause(l.Lost()))
	}
	if err := l.Release(t.Context()); err != nil {
		t.Error(err)
	}
}
