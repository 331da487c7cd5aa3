package partitions_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// copyIn returns the copy in a partition, in use or not.
func (w *two) copyIn(name string) *repository.Found {
	w.t.Helper()
	copies, _, err := repository.CopiesOf(w.t.Context(), w.parts(), repository.UserName(w.who))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range copies {
		if f.Partition.Name == name {
			return f
		}
	}
	w.t.Fatalf("no copy in %s", name)
	return nil
}

// release ends holds as the tool does.
func (w *two) release(match func(repository.Hold) bool) ([]repository.Hold, error) {
	return repository.Release(w.t.Context(), w.parts(), w.home(), nil, match)
}

func (w *two) erase() error {
	s, err := erasure.Look(w.t.Context(), w.parts(), repository.UserName(w.who), time.Now)
	if err == nil {
		_, err = erasure.Erase(w.t.Context(), s, erasure.Options{By: "test", Reason: "test", Lock: repository.LockOptions{Owner: "test", Wait: true}})
	}
	return err
}

func withReason(reason string) func(repository.Hold) bool {
	return func(x repository.Hold) bool { return x.Reason == reason }
}

// heldAndMoved is a backup that was moved while it was on hold.
func heldAndMoved(t *testing.T, reasons ...string) (w *two, left string) {
	t.Helper()
	w, _ = inTwo(t)
	for _, r := range reasons {
		if err := w.home().PlaceHold(t.Context(), aHold(r), nil); err != nil {
			t.Fatal(err)
		}
	}
	left = w.home().Partition.Name
	w.mustMove(w.other())
	return w, left
}

// A release ends the hold of the copy that a move has left, too, so that the backup can be erased. Other holds stay.
func TestReleaseAfterMove(t *testing.T) {
	t.Parallel()
	w, left := heldAndMoved(t, "one", "two")
	if ended, err := w.release(withReason("one")); err != nil || len(ended) != 1 {
		t.Fatalf("%v, %v", ended, err)
	}
	expectHolds(t, w.home(), "two")
	expectHolds(t, w.copyIn(left), "two")
	if err := w.erase(); !errors.Is(err, repository.ErrOnHold) {
		t.Fatal(err)
	}
	if ended, err := w.release(repository.AnyHold); err != nil || len(ended) != 1 {
		t.Fatalf("%v, %v", ended, err)
	}
	if err := w.erase(); err != nil {
		t.Fatal(err)
	}
	for _, s := range w.stores {
		if keys := s.Keys("backups/" + w.path() + "/"); len(keys) > 0 {
			t.Errorf("left: %q", keys)
		}
	}
}

// An older program has released the backup in use only. A release ends the other hold, and reports it.
func TestReleaseOfCopyOnly(t *testing.T) {
	t.Parallel()
	w, left := heldAndMoved(t, "one")
	if _, err := w.home().ReleaseHolds(t.Context(), nil, repository.AnyHold); err != nil {
		t.Fatal(err)
	}
	expectHolds(t, w.copyIn(left), "one")
	if ended, err := w.release(repository.AnyHold); err != nil || len(ended) != 1 {
		t.Fatalf("%v, %v", ended, err)
	}
	expectHolds(t, w.copyIn(left))
	if ended, err := w.release(repository.AnyHold); err != nil || len(ended) != 0 {
		t.Fatalf("%v, %v", ended, err)
	}
	if err := w.erase(); err != nil {
		t.Fatal(err)
	}
}

// An unreadable holds.json of the copy counts as a hold, until a release of any hold.
func TestReleaseOfUnreadableCopy(t *testing.T) {
	t.Parallel()
	w, left := heldAndMoved(t, "one")
	replace(t, w.copyIn(left).Partition.Store.(*memstore.Store), repository.HoldsKey(w.path()), []byte("{"))
	if _, err := w.release(withReason("one")); err != nil {
		t.Fatal(err)
	}
	if err := w.erase(); !errors.Is(err, repository.ErrOnHold) {
		t.Fatal(err)
	}
	if _, err := w.release(repository.AnyHold); err != nil {
		t.Fatal(err)
	}
	if err := w.erase(); err != nil {
		t.Fatal(err)
	}
}

// Holds of other backups of the name stay: of a copy in set-aside/, and of a backup with another id.
func TestReleaseLeavesOtherBackups(t *testing.T) {
	t.Parallel()
	w, left := heldAndMoved(t, "one")
	other := w.copyIn(left)
	if _, err := other.PutInfo(t.Context(), objstore.PutOptions{}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.release(repository.AnyHold); err != nil {
		t.Fatal(err)
	}
	expectHolds(t, other, "one")
	where, _, err := other.SetAside(t.Context(), "test", repository.LockOptions{Owner: "test"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.release(repository.AnyHold); err != nil {
		t.Fatal(err)
	}
	for f, err := range repository.BrowseAside(t.Context(), other.Partition) {
		if err != nil || f.Aside != where {
			t.Fatal(f, err)
		}
		expectHolds(t, f, "one")
	}
}

// Holds that are placed while a release runs stay, wherever the backup is then.
func TestHoldDuringRelease(t *testing.T) {
	t.Parallel()
	w, left := heldAndMoved(t, "one")
	parts := w.parts()
	in := w.home().Partition.Name
	for i, p := range parts {
		f := faultstore.New(p.Store)
		f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "put" && key == repository.HoldsKey(w.path()) && p.Name == in }, Call: func(string, string) {
			for _, at := range []string{in, left} {
				if err := w.copyIn(at).PlaceHold(t.Context(), aHold("new in "+at), nil); err != nil {
					t.Error(err)
				}
			}
		}})
		parts[i].Store = f
	}
	f, err := repository.Find(t.Context(), parts, repository.UserName(w.who))
	if err != nil {
		t.Fatal(err)
	}
	if ended, err := repository.Release(t.Context(), parts, f, nil, withReason("one")); err != nil || len(ended) != 1 {
		t.Fatalf("%v, %v", ended, err)
	}
	expectHolds(t, w.copyIn(in), "new in "+in)
	h, err := w.copyIn(left).ReadHolds(t.Context())
	if err != nil || len(h.Holds) == 0 || !containsReason(h.Holds, "new in "+left) {
		t.Errorf("%+v, %v", h, err)
	}
}

func containsReason(list []repository.Hold, reason string) bool {
	for _, x := range list {
		if x.Reason == reason {
			return true
		}
	}
	return false
}

// The clock of the store that a move has left is ahead. A hold that is placed after the release survives the move back.
func TestReleaseBesideFastClock(t *testing.T) {
	t.Parallel()
	fast := func() time.Time { return time.Now().Add(10 * time.Minute) }
	w, left := heldAndMoved(t, "one")
	for i := range w.stores {
		if fmt.Sprintf("p%d", i) == left {
			w.stores[i] = w.stores[i].Clone(fast)
		}
	}
	if _, err := w.release(repository.AnyHold); err != nil {
		t.Fatal(err)
	}
	if err := w.home().PlaceHold(t.Context(), aHold("new"), nil); err != nil {
		t.Fatal(err)
	}
	w.mustMove(left)
	expectHolds(t, w.home(), "new")
}

// Each request of a release fails once, with or without effect. Repeated, it ends the hold in both partitions, and leaves the other.
func TestReleaseAfterMoveInterrupted(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]faultstore.Fault{"nothing happens": {Before: faultstore.Lost}, "the answer is lost": {After: faultstore.Lost}} {
		w, left := heldAndMoved(t, "other")
		for n, struck := 0, true; struck; n++ {
			w.holdBoth(t, left, name, n)
			parts := w.parts()
			seen, hit := 0, 0
			for i := range parts {
				f := faultstore.New(parts[i].Store)
				one := fault
				one.Match = func(string, string) bool {
					seen++
					if seen-1 == n {
						hit++
					}
					return seen-1 == n
				}
				f.Add(one)
				parts[i].Store = f
			}
			f, err := repository.Find(t.Context(), parts, repository.UserName(w.who))
			if err == nil {
				_, err = repository.Release(t.Context(), parts, f, nil, withReason("ends"))
			}
			if err != nil {
				if _, err = w.release(withReason("ends")); err != nil {
					t.Fatalf("%s: request %d: %v", name, n, err)
				}
			}
			expectHolds(t, w.home(), "other")
			expectHolds(t, w.copyIn(left), "other")
			if struck = hit > 0; !struck && n < 15 {
				t.Errorf("%s: only %d requests", name, n)
			}
		}
	}
}

// holdBoth places a hold in both copies, as a move does.
func (w *two) holdBoth(t *testing.T, left, name string, n int) {
	t.Helper()
	if err := w.home().PlaceHold(t.Context(), aHold("ends"), nil); err != nil {
		t.Fatalf("%s %d: %v", name, n, err)
	}
	if err := repository.CopyHolds(t.Context(), w.home(), w.copyIn(left), true); err != nil {
		t.Fatalf("%s %d: %v", name, n, err)
	}
}
