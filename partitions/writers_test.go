package partitions_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/session"
)

// interrupt calls fn once, at the n-th call to the store. The calls of fn itself pass.
func interrupt(store *memstore.Store, n int, after bool, fn func()) (reached func() bool) {
	var calls atomic.Int64
	var inside, done atomic.Bool
	f := func(string, string) error {
		if inside.Load() || calls.Add(1) != int64(n) {
			return nil
		}
		inside.Store(true)
		fn()
		inside.Store(false)
		done.Store(true)
		return nil
	}
	if after {
		store.SetFaults(nil, f)
	} else {
		store.SetFaults(f, nil)
	}
	return done.Load
}

// deferredOnly accepts only errors after which a retry of the client succeeds.
func deferredOnly(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, cyrus.ErrLocked) && !errors.Is(err, cyrus.ErrSyncChanged) && !errors.Is(err, cyrus.ErrClose) {
		t.Errorf("with a concurrent writer: %v, want an error that defers the client", err)
	}
}

// agree checks that both hosts and the bucket have the same state as the source.
func agree(t *testing.T, store objstore.Store, user string, hosts []*host, boxes ...*source) {
	t.Helper()
	checkLog(t, store, "user/"+user)
	for range 3 { // the first sync may require a mailbox to be sent whole
		c := hosts[0].client()
		_, err := c.sync(user, boxes...)
		c.s.Close()
		deferredOnly(t, err)
	}
	checkLog(t, store, "user/"+user)
	checkBodies(t, store, "user/"+user)
	m := load(t, store, "user/"+user)
	for _, b := range boxes {
		if err := b.differs(m); err != nil {
			t.Error(err)
		}
	}
	for _, h := range hosts {
		h.checkIndex(user, boxes...)
		h.expectSame(user, boxes...)
	}
}

// Another host works on the same backup between any two calls of this host.
func TestAnotherHostAtEveryCall(t *testing.T) {
	// mine is the work of this host, which is interrupted by the work of the other host.
	type world struct {
		user       string
		old, inbox *source // the mailbox in the view of this host's client, and its true state
		other      *source
	}
	for _, c := range []struct {
		name        string
		known       bool // the backup exists already
		mine, other func(w *world, c *client) error
	}{
		{
			"new backup, the same mailbox", false,
			func(w *world, c *client) error { _, err := c.sync(w.user, w.inbox); return err },
			func(w *world, c *client) error { _, err := c.sync(w.user, w.inbox); return err },
		},
		{
			"new backup, another mailbox", false,
			func(w *world, c *client) error { _, err := c.sync(w.user, w.inbox); return err },
			func(w *world, c *client) error { _, err := c.sync(w.user, w.other); return err },
		},
		{
			"an older state against a newer", true,
			func(w *world, c *client) error { _, err := c.sync(w.user, w.old); return err },
			func(w *world, c *client) error { _, err := c.sync(w.user, w.inbox); return err },
		},
		{
			"a delta against items", true,
			func(w *world, c *client) error { _, err := c.sync(w.user, w.inbox); return err },
			func(w *world, c *client) error {
				return errors.Join(c.s.ApplySub(c.t.Context(), w.user, w.inbox.name, true), c.s.ApplyQuota(c.t.Context(), quotaOf(w.inbox.name, 7)))
			},
		},
		{
			"items against items", true,
			func(w *world, c *client) error { return c.s.ApplySeen(c.t.Context(), seenOf(w.user, "abc", "1")) },
			func(w *world, c *client) error {
				for i := range 7 { // more than the retries of this host
					if err := c.s.ApplySeen(c.t.Context(), seenOf(w.user, "abc", fmt.Sprint("1:", i+2))); err != nil {
						return err
					}
				}
				return nil
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			store := withRepository(t)
			mine, other := storyHost(t, time.Second, store), storyHost(t, time.Second, store)
			for n := firstCall(); n < 100; n += stride() {
				w := &world{user: fmt.Sprint("anne", n)}
				w.inbox, w.other = newSource("user."+w.user), newSource("user."+w.user+".Other")
				for i := range 4 {
					w.inbox.deliver(mail(1000*n+i, 900))
				}
				w.other.deliver(mail(1000*n+50, 900))
				for i := range 12 {
					w.other.deliver(mail(1000*n+60+i, 900)) // packed
				}
				boxes := []*source{w.inbox, w.other}
				if c.known {
					mine.sync(w.user, w.inbox)
					w.inbox.deliver(mail(1000*n+40, 900))
					w.old = w.inbox.clone()
					w.inbox.flag(w.inbox.records[0], `\Seen`)
					w.inbox.deliver(mail(1000*n+41, 900))
				}
				var otherErr error
				reached := interrupt(store, n/2+1, n%2 == 1, func() {
					x := other.client()
					otherErr = c.other(w, x)
					x.s.Close()
				})
				x := mine.client()
				err := c.mine(w, x)
				x.s.Close()
				store.SetFaults(nil, nil)
				deferredOnly(t, err)
				deferredOnly(t, otherErr)
				agree(t, store, w.user, []*host{mine, other}, boxes...)
				if t.Failed() {
					t.Fatalf("call %d, n = %d", n/2+1, n)
				}
				if !reached() {
					return
				}
			}
			t.Error("100 calls are not enough")
		})
	}
}

// Two hosts, each with several connections, deliver mail for the same user and for different
// users.
func TestHostsAtTheSameTime(t *testing.T) {
	t.Parallel()
	store := newStore()
	hosts := []*host{storyHost(t, 5*time.Second, store), storyHost(t, 5*time.Second, store)}
	const rounds = 6
	var mu sync.Mutex
	last := map[string]*source{}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			// Two workers, one on each host, share a user, but not a mailbox.
			user := fmt.Sprint("user", i/2)
			box := newSource(fmt.Sprintf("user.%s.Box%d", user, i))
			h := hosts[i%2]
			for r := range rounds {
				box.deliver(mail(1000*i+r, 2500))
				for try := 0; ; try++ {
					c := &client{t, session.New(h.set, session.Who{Connection: fmt.Sprint("c", i)})}
					_, err := c.sync(user, box)
					c.s.Close()
					if err == nil {
						break
					}
					deferredOnly(t, err)
					if try > 50 || t.Failed() {
						t.Errorf("%s: %v", box.name, err)
						return
					}
				}
			}
			mu.Lock()
			last[box.name] = box
			mu.Unlock()
		})
	}
	wg.Wait()
	for u := range 2 {
		user := fmt.Sprint("user", u)
		agree(t, store, user, hosts, last[fmt.Sprintf("user.%s.Box%d", user, 2*u)], last[fmt.Sprintf("user.%s.Box%d", user, 2*u+1)])
		// One commit for each delivery, without a duplicate.
		if n := checkLog(t, store, "user/"+user); n != 2*rounds {
			t.Errorf("%s has %d commits, want %d", user, n, 2*rounds)
		}
	}
}

// A host is idle for days. Meanwhile the commits that it knew were merged into a segment and
// removed. A free number after its newest commit proves nothing.
func TestStaleIndexOfMergedLog(t *testing.T) {
	store := newStore()
	var ahead atomic.Int64
	old := newHostWith(t, func(o *partitions.Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	}, store)
	young := newHost(t, store)
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500))
	held := old.client() // holds the backup, as in one long unit of work
	held.mustSync("anne", inbox)
	for i := range 5 {
		inbox.deliver(mail(2+i, 500))
		young.sync("anne", inbox)
	}
	mergeLog(t, store, "user/anne", 1, 5)
	ahead.Store(int64(72 * time.Hour))
	err := held.s.ApplySub(t.Context(), "anne", "user.anne", true)
	deferredOnly(t, err)
	held.s.Close()
	if keys := objects(t, store, history.LogPrefix("user/anne")); len(keys) > 3 || keys[len(keys)-1] < history.LogKey("user/anne", 6) {
		t.Fatalf("the log is %q", keys)
	}
	for _, k := range objects(t, store, history.LogPrefix("user/anne")) {
		if k == history.LogKey("user/anne", 2) {
			t.Error("number 2 was used twice")
		}
	}
	old.sync("anne", inbox)
	for _, h := range []*host{old, young} {
		h.checkIndex("anne", inbox)
		h.expectSame("anne", inbox)
	}
	if err := inbox.differs(load(t, store, "user/anne")); err != nil {
		t.Error(err)
	}
}

// The index is days old, and knows the backup without any commit.
func TestStaleIndexOfEmptyLog(t *testing.T) {
	store := withRepository(t)
	old, young := newHost(t, store), newHost(t, store)
	inbox := newSource("user.anne")
	inbox.deliver(mail(1, 500))
	store.SetFaults(func(op, key string) error {
		if op == "put" && key == history.LogKey("user/anne", 1) {
			return errDenied
		}
		return nil
	}, nil)
	c := old.client()
	if _, err := c.sync("anne", inbox); err == nil {
		t.Fatal("the commit was not denied")
	}
	c.s.Close()
	store.SetFaults(nil, nil)
	old.stop()
	for i := range 4 {
		inbox.deliver(mail(2+i, 500))
		young.sync("anne", inbox)
	}
	mergeLog(t, store, "user/anne", 1, 3)
	old.start()
	old.sync("anne", inbox)
	old.checkIndex("anne", inbox)
	for _, k := range objects(t, store, history.LogPrefix("user/anne")) {
		if k == history.LogKey("user/anne", 1) {
			t.Error("number 1 was used twice")
		}
	}
}

// mergeLog does what retention will do: it moves inline bodies to packs, merges commits into a
// segment, and removes the commits.
func mergeLog(t *testing.T, store objstore.Store, path string, from, to uint64) {
	t.Helper()
	moved := map[string]string{}
	for n := from; n <= to; n++ {
		key := history.LogKey(path, n)
		o, err := store.Get(t.Context(), key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(o)
		if err := errors.Join(err, o.Close()); err != nil {
			t.Fatal(err)
		}
		sum := fmt.Sprintf("%x", sha256.Sum256(b))
		moved[key] = "packs/" + sum[:2] + "/" + sum + ".tar.zst"
		put(t, store, moved[key], b)
	}
	seg := history.NewSegmentBuilder(path, pack.Options{})
	log := history.Log{Store: store, Backup: path}
	for c, err := range log.Commits(t.Context(), from, to) {
		if err != nil {
			t.Fatal(err)
		}
		err := seg.Add(c, func(p history.Place) (history.Place, error) {
			if k := moved[p.Object]; k != "" {
				p.Object = k
			}
			return p, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	key, object, err := seg.Finish()
	if err != nil {
		t.Fatal(err)
	}
	put(t, store, key, object)
	for n := from; n <= to; n++ {
		if err := store.Delete(t.Context(), history.LogKey(path, n)); err != nil {
			t.Fatal(err)
		}
	}
}

func put(t *testing.T, store objstore.Store, key string, b []byte) {
	t.Helper()
	if _, err := store.Put(t.Context(), key, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// removeIndex restarts the host with an empty index directory.
func (h *host) removeIndex() {
	h.t.Helper()
	h.stop()
	if err := os.RemoveAll(h.dir); err != nil {
		h.t.Fatal(err)
	}
	h.start()
}
