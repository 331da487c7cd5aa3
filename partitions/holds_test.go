package partitions_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/transfer"
)

func aHold(reason string) repository.Hold {
	return repository.Hold{Kind: repository.HoldPlaced, By: "the test", Reason: reason}
}

// expectHolds checks the reasons of a backup's holds.
func expectHolds(t *testing.T, f *repository.Found, want ...string) {
	t.Helper()
	h, err := f.ReadHolds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, x := range h.Active(time.Time{}) {
		got[x.Reason]++
	}
	for _, w := range want {
		if got[w] != 1 {
			t.Errorf("%s: %d holds %q, want 1", f.Where(), got[w], w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: holds %v, want %q", f.Where(), got, want)
	}
}

// A hold follows a backup that is moved or exported, and so does its release.
func TestHoldsFollowABackup(t *testing.T) {
	w, a := inTwo(t)
	first := w.home().Partition.Name
	if err := w.home().PlaceHold(t.Context(), aHold("one"), nil); err != nil {
		t.Fatal(err)
	}
	out := newStore()
	h := newHost(t, out)
	if _, err := transfer.Copy(t.Context(), w.home(), h.set.Partitions()[0], nil); err != nil {
		t.Fatal(err)
	}
	expectHolds(t, found(t, out), "one")
	w.mustMove(w.other())
	expectHolds(t, w.home(), "one")
	if ended, err := w.home().ReleaseHolds(t.Context(), nil, repository.AnyHold); err != nil || len(ended) != 1 {
		t.Fatalf("%v, %v", ended, err)
	}
	if err := w.home().PlaceHold(t.Context(), aHold("two"), nil); err != nil {
		t.Fatal(err)
	}
	w.news(a)
	w.mustMove(first) // where the old holds.json is
	expectHolds(t, w.home(), "two")
	w.check(first)
	if _, err := transfer.Copy(t.Context(), w.home(), h.set.Partitions()[0], nil); err != nil {
		t.Fatal(err)
	}
	expectHolds(t, found(t, out), "two")
}

// A hold that is placed while the backup is being set aside is in the copy.
func TestHoldWhileSetAside(t *testing.T) {
	t.Parallel()
	w := newAsideWorld(t)
	if err := w.remains().PlaceHold(t.Context(), aHold("before"), nil); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	w.store.SetFaults(func(op, key string) error {
		if op == "delete" {
			once.Do(func() {
				if err := w.remains().PlaceHold(t.Context(), aHold("meanwhile"), nil); err != nil {
					t.Error(err)
				}
			})
		}
		return nil
	}, nil)
	where, err := w.setAside()
	w.store.SetFaults(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	expectHolds(t, w.old(where), "before", "meanwhile")
	w.begun()
}

// Each request of hold and release fails once, with or without effect. Repeated, they have the
// same result.
func TestHoldsInterrupted(t *testing.T) {
	t.Parallel()
	w := newAsideWorld(t)
	f := w.remains()
	for name, lost := range map[string]bool{"nothing happens": false, "the answer is lost": true} {
		for n := 0; ; n++ {
			faulty := faultstore.New(w.store)
			fault := faultstore.Fault{Skip: n, Count: 1, Before: faultstore.Lost}
			if lost {
				fault = faultstore.Fault{Skip: n, Count: 1, After: faultstore.Lost}
			}
			faulty.Add(fault)
			g := *f
			g.Partition.Store = faulty
			hold := aHold(fmt.Sprint(name, n))
			err := g.PlaceHold(t.Context(), hold, nil)
			if err != nil {
				err = g.PlaceHold(t.Context(), hold, nil)
			}
			if err != nil {
				t.Fatalf("%s: request %d: %v", name, n, err)
			}
			expectHolds(t, f, hold.Reason)
			_, err = g.ReleaseHolds(t.Context(), nil, repository.AnyHold)
			if err != nil {
				_, err = g.ReleaseHolds(t.Context(), nil, repository.AnyHold)
			}
			if err != nil {
				t.Fatalf("%s: request %d: %v", name, n, err)
			}
			expectHolds(t, f)
			if faulty.Struck() == 0 {
				if n < 12 {
					t.Errorf("only %d requests", n)
				}
				break
			}
		}
	}
}

// Programs that change the holds at the same time lose none.
func TestHoldsAtTheSameTime(t *testing.T) {
	t.Parallel()
	w := newAsideWorld(t)
	var work sync.WaitGroup
	var want []string
	for i := range 8 {
		want = append(want, fmt.Sprint(i))
		work.Go(func() {
			if err := w.remains().PlaceHold(t.Context(), aHold(fmt.Sprint(i)), nil); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	expectHolds(t, w.remains(), want...)
}

// Nothing begins to remove objects of a backup on hold. A hold that has ended by one clock only
// has not ended.
func TestUpkeepOnHold(t *testing.T) {
	t.Parallel()
	w := newAsideWorld(t)
	f := w.remains()
	hold := aHold("until soon")
	hold.Until = time.Now().Add(30 * time.Minute)
	if err := f.PlaceHold(t.Context(), hold, nil); err != nil {
		t.Fatal(err)
	}
	later := func(d time.Duration) repository.LockOptions {
		return repository.LockOptions{Owner: "test", Now: func() time.Time { return time.Now().Add(d) }}
	}
	for _, d := range []time.Duration{0, time.Hour, -time.Hour} {
		if _, err := repository.BeginUpkeep(t.Context(), f, later(d)); !errors.Is(err, repository.ErrOnHold) || !strings.Contains(err.Error(), "until soon") {
			t.Errorf("a host that is %s ahead: %v, want ErrOnHold", d, err)
		}
	}
	if _, err := f.ReleaseHolds(t.Context(), nil, repository.AnyHold); err != nil {
		t.Fatal(err)
	}
	u, err := repository.BeginUpkeep(t.Context(), f, later(0)) // the attempts before have left no lease
	if err != nil {
		t.Fatal(err)
	}
	if err := u.End(t.Context()); err != nil {
		t.Fatal(err)
	}

	hold.Until = time.Now().Add(-time.Minute)
	if err := f.PlaceHold(t.Context(), hold, nil); err != nil {
		t.Fatal(err)
	}
	if u, err = repository.BeginUpkeep(t.Context(), f, later(0)); err != nil {
		t.Fatalf("after the end of the hold: %v", err)
	}
	if err := u.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := repository.BeginUpkeep(t.Context(), f, later(time.Hour)); !errors.Is(err, repository.ErrOnHold) {
		t.Errorf("clocks that differ: %v, want ErrOnHold", err)
	}
}

// A hold that is placed while a program takes its lease is seen by that program, or waits for
// it.
func TestHoldAgainstUpkeep(t *testing.T) {
	t.Parallel()
	for n := range 40 {
		w := newAsideWorld(t)
		f := w.remains()
		faulty := faultstore.New(w.store)
		placed := false
		faulty.Add(faultstore.Fault{Skip: n, Count: 1, Call: func(string, string) {
			placed = true
			if err := f.PlaceHold(t.Context(), aHold("meanwhile"), nil); err != nil {
				t.Error(err)
			}
		}})
		g := *f
		g.Partition.Store = faulty
		u, err := repository.BeginUpkeep(t.Context(), &g, repository.LockOptions{Owner: "test"})
		if !placed {
			if err == nil {
				err = u.End(t.Context()) // it would renew its lease after the test
			}
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		if err == nil {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			if err := repository.AwaitUpkeep(ctx, f, repository.LockOptions{}); !errors.Is(err, repository.ErrUpkeep) {
				t.Errorf("request %d: the upkeep has not seen the hold, and the hold does not wait: %v", n, err)
			}
			cancel()
			if err := u.End(t.Context()); err != nil {
				t.Error(err)
			}
		} else if !errors.Is(err, repository.ErrOnHold) {
			t.Errorf("request %d: %v", n, err)
		}
	}
}
