package partitions_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// asideWorld is a host with two users. anne's backup has every kind of object.
type asideWorld struct {
	t     *testing.T
	store *memstore.Store
	h     *host
	anne  []*source
	bob   *source
	n     int // number of delivered messages
}

func newAsideWorld(t *testing.T) *asideWorld {
	w := &asideWorld{t: t, store: newStore(), bob: newSource("user.bob")}
	w.h = newHostWith(t, func(o *partitions.Options) {
		o.OutageWait, o.PatientWait, o.NoCheckpoints = 2*time.Second, 2*time.Second, true
		o.InlineLimit = 4 << 10
	}, w.store)
	w.bob.deliver(mail(1, 6000))
	w.h.sync("bob", w.bob)
	w.anne = []*source{newSource("user.anne"), newSource("user.anne.Sent")}
	w.news(6000)
	w.news(500)
	checkpoint(t, w.store)
	w.news(700)
	return w
}

func (w *asideWorld) news(size int) {
	w.n++
	w.anne[0].deliver(mail(100+w.n, size))
	w.h.sync("anne", w.anne...)
}

func (w *asideWorld) Config() repository.Config {
	return repository.Config{Name: "p0", Location: "memory", Store: w.store}
}

func (w *asideWorld) remains() *repository.Found {
	w.t.Helper()
	list, err := repository.Remains(w.t.Context(), []repository.Config{w.Config()}, repository.UserName("anne"))
	if err != nil || len(list) != 1 {
		w.t.Fatalf("remains of anne: %v, %v", list, err)
	}
	return list[0]
}

func (w *asideWorld) setAside() (where string, err error) {
	return setAside(w.t, w.remains())
}

// begun checks that anne's next sync starts a complete new backup, and that bob is unaffected.
func (w *asideWorld) begun() {
	w.t.Helper()
	if left := w.store.Keys("backups/user/anne/"); len(left) > 0 {
		w.t.Errorf("left in the old place: %q", left)
	}
	w.h.sync("anne", w.anne...)
	w.h.expectSame("anne", w.anne...)
	w.h.expectSame("bob", w.bob)
	w.news(800)
	if n := checkLog(w.t, w.store, "user/anne"); n == 0 {
		w.t.Error("the new backup has no log")
	}
	checkBodies(w.t, w.store, "user/anne")
	problems, _ := verified(w.t, w.store, false)
	if len(problems) > 0 {
		w.t.Errorf("the new backup: %q", problems)
	}
}

// old returns the backup that was set aside.
func (w *asideWorld) old(where string) *repository.Found {
	w.t.Helper()
	f, err := repository.FindPath(w.t.Context(), w.Config(), where)
	if err != nil {
		w.t.Fatal(err)
	}
	var list []string
	for f, err := range repository.BrowseAside(w.t.Context(), w.Config()) {
		if err != nil {
			w.t.Fatal(err)
		}
		list = append(list, f.Where())
	}
	if !slices.Contains(list, where) {
		w.t.Errorf("%s is not among %q", where, list)
	}
	return f
}

// A backup that is set aside is readable in its new place, including every message. The user
// continues with a new backup, both on a host that has the old one open and on another host.
func TestSetAside(t *testing.T) {
	w := newAsideWorld(t)
	was := []*source{w.anne[0].clone(), w.anne[1].clone()}
	where, err := w.setAside()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(where, "set-aside/user/anne/") {
		t.Errorf("the backup was set aside at %s", where)
	}
	w.begun()
	old := w.old(where)
	checkBucket(t, old.Partition.Store, old.Path, was...).Close()
	done, err := verify.Run(t.Context(), old, verify.Options{Report: func(p verify.Problem) { t.Errorf("the old one: %v", p) }})
	if err != nil || done.Checkpoints != 1 || done.Messages != 3 {
		t.Errorf("verify of the old one: %+v, %v", done, err)
	}
	fresh := newHost(t, w.store)
	fresh.expectSame("anne", w.anne...)
	for f, err := range repository.Browse(t.Context(), w.Config()) {
		if err != nil || f.Aside != "" {
			t.Errorf("the partition's backups include %+v, %v", f, err)
		}
	}
	if _, _, err := old.SetAside(t.Context(), "", repository.LockOptions{}, nil); err == nil {
		t.Error("a backup that was set aside was set aside again")
	}
	again, err := w.setAside()
	if err != nil || again == where {
		t.Errorf("the new one is set aside at %s, %v; the first is at %s", again, err, where)
	}
}

// A backup with any damage can be set aside, and its undamaged parts remain readable.
func TestSetAsideDamaged(t *testing.T) {
	for name, spoil := range map[string]func(*memstore.Store){
		"backup.json is lost":           func(s *memstore.Store) { s.Lose("backups/user/anne/backup.json") },
		"backup.json is truncated":      func(s *memstore.Store) { s.Truncate("backups/user/anne/backup.json", 20) },
		"backup.json of another backup": func(s *memstore.Store) { s.Copy("backups/user/bob/backup.json", "backups/user/anne/backup.json") },
		"the newest commit is lost":     func(s *memstore.Store) { s.Lose(logKey(s, -1)) },
		"the newest commit is flipped":  func(s *memstore.Store) { s.Flip(logKey(s, -1), 40) },
		"a commit is lost":              func(s *memstore.Store) { s.Lose(logKey(s, 1)) },
		"the log is lost": func(s *memstore.Store) {
			for _, k := range s.Keys("backups/user/anne/log/") {
				s.Lose(k)
			}
		},
		"all but backup.json is lost": func(s *memstore.Store) {
			for _, k := range s.Keys("backups/user/anne/") {
				if !strings.HasSuffix(k, "backup.json") {
					s.Lose(k)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newAsideWorld(t)
			spoil(w.store)
			where, err := w.setAside()
			if err != nil {
				t.Fatal(err)
			}
			w.begun()
			w.old(where)
		})
	}
}

// logKey returns the key of a commit of anne's log. A negative i counts from the end.
func logKey(s *memstore.Store, i int) string {
	keys := s.Keys("backups/user/anne/log/")
	if i < 0 {
		i += len(keys)
	}
	return keys[i]
}

// An interruption at any call of the store does no harm, and neither does a daemon that runs in
// between: a second attempt gives the same result.
func TestSetAsideInterrupted(t *testing.T) {
	t.Parallel()
	w := newAsideWorld(t)
	snap, index, was := w.store.Snapshot(), w.h.saveIndex(), w.anne[0].clone()
	n := 1
	for ; ; n += 1 + n/12 {
		w.store.Rollback(snap, "", false)
		before, reached := fault(n, 1, errDenied)
		w.store.SetFaults(before, nil)
		where, err := w.setAsideNow()
		w.store.SetFaults(nil, nil)
		if !reached() {
			break
		}
		between := n%5 == 0
		if between {
			w.h.restoreIndex(index)
			w.between()
		}
		if err != nil || between {
			if where, err = w.setAside(); err != nil {
				t.Fatalf("call %d: again: %v", n, err)
			}
		}
		if left := w.store.Keys("backups/user/anne/"); len(left) > 0 {
			t.Errorf("left in the old place: %q", left)
		}
		m, err := w.old(where).Load(t.Context(), history.Moment{})
		if err == nil {
			err = errors.Join(was.differs(m), m.Close())
		}
		if err != nil && !between { // a commit of the daemon in between may only be in the log
			t.Errorf("the old one: %v", err)
		}
		if between {
			w.begun()
		}
		if t.Failed() {
			t.Fatalf("call %d", n)
		}
	}
	if n < 30 {
		t.Errorf("setting aside has only %d calls", n-1)
	}
}

// between runs a daemon on a backup that is partly set aside.
func (w *asideWorld) between() {
	w.t.Helper()
	c := w.h.client()
	defer c.s.Close()
	if _, err := c.sync("anne", w.anne...); err != nil && !errors.Is(err, cyrus.ErrLocked) && !errors.Is(err, cyrus.ErrClose) {
		w.t.Fatalf("the daemon in between: %v", err)
	}
	w.h.expectSame("bob", w.bob)
}

// setAsideNow sets aside a backup without looking for it.
func (w *asideWorld) setAsideNow() (string, error) {
	f := &repository.Found{Partition: w.Config(), Path: "user/anne", Info: repository.BackupInfo{Kind: repository.KindUser, Name: "anne"}}
	return setAside(w.t, f)
}

// setAside uses a short lease, so that it does not wait long for the lock of an interrupted
// attempt.
func setAside(t *testing.T, f *repository.Found) (string, error) {
	where, _, err := f.SetAside(t.Context(), "test", repository.LockOptions{Owner: "test", Lease: time.Second, Wait: true}, nil)
	return where, err
}
