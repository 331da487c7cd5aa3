package partitions_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

func upkeep(t *testing.T, f *repository.Found, o repository.LockOptions) *repository.Upkeep {
	t.Helper()
	o.Owner = "test"
	u, err := repository.BeginUpkeep(t.Context(), f, o)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Upkeep of a backup excludes other upkeep and moves, but no daemon.
func TestUpkeepExcludesUpkeep(t *testing.T) {
	store := newStore()
	h := newHostWith(t, shortWait, store)
	inbox := newSource("user.anne")
	h.sync("anne", inbox)
	f := found(t, store)
	u := upkeep(t, f, repository.LockOptions{})
	inbox.deliver(mail(1, 500))
	h.sync("anne", inbox)
	if _, err := repository.BeginUpkeep(t.Context(), f, repository.LockOptions{Owner: "another"}); !errors.Is(err, repository.ErrUpkeep) {
		t.Errorf("a second upkeep: %v, want ErrUpkeep", err)
	}
	if _, _, err := f.SetAside(t.Context(), "test", repository.LockOptions{Owner: "aside"}, nil); !errors.Is(err, repository.ErrUpkeep) {
		t.Errorf("set-aside meanwhile: %v, want ErrUpkeep", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := repository.AwaitUpkeep(ctx, f, repository.LockOptions{}); !errors.Is(err, repository.ErrUpkeep) {
		t.Errorf("waiting for the end: %v, want ErrUpkeep", err)
	}
	if err := errors.Join(u.Check(), u.End(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := u.Check(); err == nil {
		t.Error("after its end the upkeep has no error")
	}
	if err := repository.AwaitUpkeep(t.Context(), f, repository.LockOptions{}); err != nil {
		t.Errorf("after the end: %v", err)
	}
	if _, _, err := f.SetAside(t.Context(), "test", repository.LockOptions{Owner: "aside"}, nil); err != nil {
		t.Errorf("set-aside after the end: %v", err)
	}
	if left := store.Keys("backups/"); len(left) > 0 {
		t.Errorf("set-aside has left %q", left)
	}
	if copied := strings.Join(store.Keys("set-aside/"), " "); strings.Contains(copied, "upkeep.json") {
		t.Errorf("set-aside has copied a lease: %s", copied)
	}
}

// The lease of a partition's collection is independent of those of backups.
func TestCollectionLease(t *testing.T) {
	store := newStore()
	newHostWith(t, shortWait, store).sync("anne", newSource("user.anne"))
	p := repository.Config{Name: "p0", Store: store}
	first, err := repository.BeginCollection(t.Context(), p, repository.LockOptions{Owner: "first"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repository.BeginCollection(t.Context(), p, repository.LockOptions{Owner: "second"}); !errors.Is(err, repository.ErrUpkeep) {
		t.Errorf("a second collection: %v, want ErrUpkeep", err)
	}
	u := upkeep(t, found(t, store), repository.LockOptions{})
	if err := errors.Join(u.End(t.Context()), first.End(t.Context())); err != nil {
		t.Error(err)
	}
}

// Upkeep that cannot renew its lease ends before others may begin theirs.
func TestUpkeepEndsInTime(t *testing.T) {
	store := newStore()
	newHostWith(t, shortWait, store).sync("anne", newSource("user.anne"))
	faulty := faultstore.New(store)
	const lease = 300 * time.Millisecond
	begun := time.Now()
	u := upkeep(t, found(t, faulty), repository.LockOptions{Lease: lease})
	faulty.Add(faultstore.Fault{Match: func(op, key string) bool { return op == "put" }, Before: func(string, string) error { return errors.New("unreachable") }})
	<-u.Context().Done()
	const late = 5 * time.Second // on a busy machine; without its rule, the upkeep does not end at all
	if took := time.Since(begun); took > lease+late {
		t.Errorf("the upkeep ended after %v, want less than %v", took, lease)
	}
	if err := u.Check(); err == nil || !strings.Contains(err.Error(), "was lost") {
		t.Errorf("%v, want that the lease was lost", err)
	}
}

// The upkeep of a program that was killed ends by the store's clock, and a lease that nobody
// can read ends, too.
func TestUpkeepOfDeadHolder(t *testing.T) {
	var shift atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
	store := memstore.New(clock)
	newHostWith(t, func(o *partitions.Options) { shortWait(o); o.Now = clock }, store).sync("anne", newSource("user.anne"))
	upkeep(t, found(t, store), repository.LockOptions{Now: clock})
	shift.Store(int64(time.Hour))
	second := upkeep(t, found(t, store), repository.LockOptions{Now: clock})
	if err := second.End(t.Context()); err != nil {
		t.Error(err)
	}
	key := repository.UpkeepKey("user/anne")
	if _, err := store.Put(t.Context(), key, strings.NewReader("{"), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := repository.BeginUpkeep(t.Context(), found(t, store), repository.LockOptions{Now: clock}); !errors.Is(err, repository.ErrUpkeep) {
		t.Errorf("a lease that was just written and is unreadable: %v, want ErrUpkeep", err)
	}
	shift.Store(int64(2 * time.Hour))
	upkeep(t, found(t, store), repository.LockOptions{Now: clock})
}
