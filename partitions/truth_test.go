package partitions_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// The tests in this file replace the index: the bucket is right whatever the index contains.

// saveIndex stops the host, copies its index, and starts the host again.
func (h *host) saveIndex() (dir string) {
	h.t.Helper()
	dir = filepath.Join(h.t.TempDir(), "saved")
	h.stop()
	copyIndex(h.t, h.dir, dir)
	h.start()
	return dir
}

// restoreIndex replaces the index with an older copy.
func (h *host) restoreIndex(dir string) {
	h.t.Helper()
	h.stop()
	if err := os.RemoveAll(h.dir); err != nil {
		h.t.Fatal(err)
	}
	copyIndex(h.t, dir, h.dir)
	h.start()
}

func TestIndexOlderThanTheBucket(t *testing.T) {
	t.Parallel()
	store := withRepository(t)
	h := storyHost(t, time.Second, store)
	s := newStory(1)
	var saved []string
	for i := range steps {
		saved = append(saved, h.saveIndex())
		steps[i].change(s)
		if err := s.send(h, i); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range saved {
		h.restoreIndex(dir)
		s.check(h, store, len(steps))
		s.bert.deliver(s.mail(900, 800))
		h.sync(s.user("berti"), s.bert)
	}
	h.removeIndex()
	s.check(h, store, len(steps))
}

// The partition's name now refers to another bucket.
func TestIndexOfAnotherBucket(t *testing.T) {
	t.Parallel()
	one, two := withRepository(t), withRepository(t)
	h := storyHost(t, time.Second, one)
	s := newStory(1)
	if _, err := s.run(h, 0); err != nil {
		t.Fatal(err)
	}
	h.stop()
	h.opt.Partitions[0].Store = two
	h.start()
	s = newStory(1) // the same mail: no commit may refer to packs that the index knows from the other bucket
	if _, err := s.run(h, 0); err != nil {
		t.Fatal(err)
	}
	s.check(h, two, len(steps))
}

// A partition that is suddenly empty is most likely a disk that is not mounted. No backup is
// created there until an administrator removes the index.
func TestPartitionIsSuddenlyEmpty(t *testing.T) {
	t.Parallel()
	full, empty := withRepository(t), newStore()
	h := storyHost(t, 100*time.Millisecond, full)
	box := newSource("user.anne")
	box.deliver(mail(1, 3000))
	h.sync("anne", box)
	use := func(store *memstore.Store) {
		h.stop()
		h.opt.Partitions[0].Store = store
		h.start()
	}
	use(empty)
	for _, user := range []string{"anne", "bert"} {
		c := h.client()
		_, err := c.sync(user, newSource("user."+user))
		if !errors.Is(err, cyrus.ErrLocked) || !strings.Contains(err.Error(), "is the disk mounted") {
			t.Errorf("%s: %v", user, err)
		}
		c.s.Close()
	}
	for info, err := range empty.List(t.Context(), "", "") {
		t.Errorf("a new repository was created: %s, %v", info.Key, err)
	}
	use(full)
	box.deliver(mail(2, 3000))
	h.sync("anne", box)
	h.expectSame("anne", box)

	use(empty)
	h.stop()
	if err := os.RemoveAll(h.dir); err != nil {
		t.Fatal(err)
	}
	h.start()
	h.sync("anne", box)
	if err := box.differs(load(t, empty, "user/anne")); err != nil {
		t.Error(err)
	}
}

// The bucket was restored to an older state: commits and packs that the index knows no longer
// exist.
func TestBucketIsRolledBack(t *testing.T) {
	for _, c := range []struct {
		name  string
		alive bool // the daemon keeps running
		wrote bool // another host has written since
	}{
		{"daemon restarted", false, false},
		{"daemon running", true, false},
		{"another host wrote since", false, true},
		{"another host wrote since, daemon running", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			store, old := withRepository(t), newStore()
			var ahead time.Duration
			h := newHostWith(t, func(o *partitions.Options) {
				o.InlineLimit, o.PackSize, o.NoCheckpoints = 8<<10, 64<<10, true
				o.Now = func() time.Time { return time.Now().Add(ahead) }
			}, store)
			a, b := newSource("user.anne"), newSource("user.bert")
			for i := range 12 {
				a.deliver(mail(i, 3000))
				b.deliver(mail(50+i, 3000))
			}
			h.sync("anne", a)
			h.sync("bert", b)
			copyStore(t, store, old, nil)
			aOld := a.clone()
			for i := range 12 {
				a.deliver(mail(100+i, 3000))
			}
			h.sync("anne", a)
			if !c.alive {
				h.stop()
			}
			for _, k := range objects(t, store, "") {
				if _, err := old.Stat(t.Context(), k); err != nil {
					if err := store.Delete(t.Context(), k); err != nil {
						t.Fatal(err)
					}
				}
			}
			if c.wrote {
				other := newHost(t, store)
				aOld.flag(aOld.records[0], `\Flagged`)
				other.sync("anne", aOld)
				a.flag(a.records[0], `\Flagged`)
				a.records[0].ModSeq = aOld.records[0].ModSeq
			}
			ahead = 10 * time.Second
			if !c.alive {
				h.start()
			}
			for range 3 {
				x := h.client()
				_, err := x.sync("anne", a)
				x.s.Close()
				deferredOnly(t, err)
			}
			// The mail that bert gets now was in packs that no longer exist, so no commit may
			// refer to them.
			for i := range 12 {
				b.deliver(mail(100+i, 3000))
			}
			h.sync("bert", b)
			for user, box := range map[string]*source{"anne": a, "bert": b} {
				checkLog(t, store, "user/"+user)
				checkBodies(t, store, "user/"+user)
				if err := box.differs(load(t, store, "user/"+user)); err != nil {
					t.Error(err)
				}
				h.checkIndex(user, box)
				h.expectSame(user, box)
			}
			h.stop()
			h.start()
			h.expectSame("anne", a)
			h.expectSame("bert", b)
		})
	}
}

// The bucket is emptied while the daemon runs. The daemon refuses syncs until the index is
// removed, and then creates a complete new repository.
func TestBucketIsEmptied(t *testing.T) {
	t.Parallel()
	store := newStore()
	var ahead time.Duration
	h := newHostWith(t, func(o *partitions.Options) { o.Now = func() time.Time { return time.Now().Add(ahead) } }, store)
	a := newSource("user.anne")
	a.deliver(mail(1, 500))
	h.sync("anne", a)
	for _, k := range objects(t, store, "") {
		if err := store.Delete(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	ahead = 2 * time.Hour
	a.deliver(mail(2, 500))
	h.opt.OutageWait, h.opt.PatientWait = 50*time.Millisecond, 50*time.Millisecond
	for range 3 {
		c := h.client()
		if _, err := c.sync("anne", a); !errors.Is(err, cyrus.ErrLocked) {
			t.Errorf("the bucket was emptied: %v", err)
		}
		c.s.Close()
		ahead += 2 * time.Hour
	}
	if keys := objects(t, store, ""); len(keys) > 0 {
		t.Errorf("a new repository was created: %q", keys)
	}
	h.stop()
	if err := os.RemoveAll(h.dir); err != nil {
		t.Fatal(err)
	}
	h.start()
	h.sync("anne", a)
	keys := strings.Join(objects(t, store, ""), " ")
	for _, k := range []string{"README.txt", "repository.json", "backups/user/anne/backup.json", history.LogKey("user/anne", 1)} {
		if !strings.Contains(keys, k) {
			t.Errorf("%s is missing: %s", k, keys)
		}
	}
	h.expectSame("anne", a)
	checkBucket(t, store, "user/anne", a)
}
