package partitions_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

func (w *two) storeOf(partition string) *memstore.Store {
	return w.copyIn(partition).Partition.Store.(*memstore.Store)
}

// loseHolds deletes the holds.json of the backup in use, as somebody with the keys may do.
func (w *two) loseHolds() { w.storeOf(w.home().Partition.Name).Lose(repository.HoldsKey(w.path())) }

func ofTripwire(x repository.Hold) bool { return x.Kind == repository.HoldTripwire }

// A hold is in the copy only. The release of another one leaves it, so that it still forbids an erasure.
func TestReleaseLeavesHoldOfCopyOnly(t *testing.T) {
	t.Parallel()
	w, left := heldAndMoved(t, "legal")
	w.loseHolds()
	wire := aHold("much mail was deleted")
	wire.Kind = repository.HoldTripwire
	for _, x := range []repository.Hold{wire, aHold("other")} {
		if err := w.home().PlaceHold(t.Context(), x, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		match func(repository.Hold) bool
		ended int
	}{{withReason("none"), 0}, {ofTripwire, 1}, {withReason("other"), 1}, {ofTripwire, 0}} {
		if ended, err := w.release(c.match); err != nil || len(ended) != c.ended {
			t.Errorf("%v, %v, want %d ended", ended, err, c.ended)
		}
		expectHolds(t, w.copyIn(left), "legal")
		if err := w.erase(); !errors.Is(err, repository.ErrOnHold) {
			t.Fatal(err)
		}
	}
	if ended, err := w.release(withReason("legal")); err != nil || len(ended) != 1 {
		t.Fatalf("%v, %v", ended, err)
	}
	if err := w.erase(); err != nil {
		t.Fatal(err)
	}
}

// The hold that is only in the copy survives a release in use of another one, and a move back.
func TestHoldOfCopyOnlyMovesBack(t *testing.T) {
	t.Parallel()
	w, left := heldAndMoved(t, "legal")
	w.loseHolds()
	wire := aHold("much mail was deleted")
	wire.Kind = repository.HoldTripwire
	if err := w.home().PlaceHold(t.Context(), wire, nil); err != nil {
		t.Fatal(err)
	}
	if ended, err := w.release(ofTripwire); err != nil || len(ended) != 1 {
		t.Fatalf("%v, %v", ended, err)
	}
	w.mustMove(left)
	expectHolds(t, w.home(), "legal")
	if err := w.erase(); !errors.Is(err, repository.ErrOnHold) {
		t.Fatal(err)
	}
}

// One of two holds of the copy ends. The other is in the copy only, and survives a move back.
func TestReleaseBesideHoldOfCopyOnly(t *testing.T) {
	t.Parallel()
	w, left := heldAndMoved(t, "legal", "one")
	before, err := w.copyIn(left).ReadHolds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.loseHolds()
	if err := w.home().PlaceHold(t.Context(), aHold("one"), nil); err != nil {
		t.Fatal(err)
	}
	if ended, err := w.release(withReason("one")); err != nil || len(ended) != 1 {
		t.Fatalf("%v, %v", ended, err)
	}
	expectHolds(t, w.home())
	expectHolds(t, w.copyIn(left), "legal")
	if err := w.erase(); !errors.Is(err, repository.ErrOnHold) {
		t.Fatal(err)
	}
	w.mustMove(left)
	expectHolds(t, w.home(), "legal")
	h, err := w.home().ReadHolds(t.Context())
	if err != nil || h.Holds[0].Text() != before.Holds[0].Text() {
		t.Errorf("%+v, %v: want the text of %+v", h, err, before.Holds[0])
	}
}

// A release that matches nothing ends nothing, also if the backup in use was released before, and also after a move back.
func TestReleaseOfNothing(t *testing.T) {
	t.Parallel()
	w, left := heldAndMoved(t, "one")
	if _, err := w.home().ReleaseHolds(t.Context(), nil, repository.AnyHold); err != nil {
		t.Fatal(err)
	}
	for _, match := range []func(repository.Hold) bool{withReason("none"), ofTripwire} {
		if ended, err := w.release(match); err != nil || len(ended) != 0 {
			t.Errorf("%v, %v", ended, err)
		}
	}
	expectHolds(t, w.copyIn(left), "one")
	if err := w.erase(); !errors.Is(err, repository.ErrOnHold) {
		t.Fatal(err)
	}
	w.mustMove(left)
	expectHolds(t, w.home(), "one")
}

// The store of the copy does not keep concurrent changes apart: the copy stays unchanged, and the release fails.
func TestReleaseOfCopyNeedsConditions(t *testing.T) {
	t.Parallel()
	w, left := heldAndMoved(t, "one")
	s := w.storeOf(left)
	b := bytes.Replace(body(t, s, "repository.json"), []byte(`"if_match": true`), []byte(`"if_match": false`), 1)
	replace(t, s, "repository.json", b)
	parts := w.parts()
	for i, p := range parts {
		if p.Name == left {
			parts[i].Store = deaf{s}
		}
	}
	if ended, err := repository.Release(t.Context(), parts, w.home(), nil, repository.AnyHold); err == nil || len(ended) != 1 {
		t.Errorf("%v, %v", ended, err)
	}
	expectHolds(t, w.home())
	expectHolds(t, w.copyIn(left), "one")
}

// While a release runs, the copy is removed, or becomes another backup. The release puts nothing there.
func TestReleaseOfCopyThatIsGone(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(w *two, left string){
		"removed": func(w *two, left string) {
			w.storeOf(left).Lose(repository.HoldsKey(w.path()))
			w.loseInfo(left)
		},
		"without its holds": func(w *two, left string) { w.storeOf(left).Lose(repository.HoldsKey(w.path())) },
		"not quite removed": func(w *two, left string) { w.loseInfo(left) },
		"another backup":    func(w *two, left string) { w.putID(left, repository.NewID()) },
		"unreadable, not quite removed": func(w *two, left string) {
			replace(w.t, w.storeOf(left), repository.HoldsKey(w.path()), []byte("{"))
			w.loseInfo(left)
		},
	} {
		w, left := heldAndMoved(t, "one")
		var before []byte
		store := w.storeOf(left)
		parts := w.parts()
		for i, p := range parts {
			if p.Name == left {
				continue
			}
			f := faultstore.New(p.Store)
			f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "put" && key == repository.HoldsKey(w.path()) }, Call: func(string, string) {
				change(w, left)
				before = store.Bytes(repository.HoldsKey(w.path()))
			}})
			parts[i].Store = f
		}
		f, err := repository.Find(t.Context(), parts, repository.UserName(w.who))
		if err != nil {
			t.Fatal(err)
		}
		if ended, err := repository.Release(t.Context(), parts, f, nil, repository.AnyHold); err != nil || len(ended) != 1 {
			t.Errorf("%s: %v, %v", name, ended, err)
		}
		if after := store.Bytes(repository.HoldsKey(w.path())); !bytes.Equal(before, after) {
			t.Errorf("%s: put %s, before: %s", name, after, before)
		}
	}
}

func (w *two) loseInfo(partition string) {
	w.storeOf(partition).Lose(repository.BackupInfoKey(w.path()))
}

// putID gives the backup in a partition another id.
func (w *two) putID(partition, id string) {
	w.t.Helper()
	info := w.copyIn(partition).Info
	info.ID = id
	b, err := json.Marshal(info)
	if err != nil {
		w.t.Fatal(err)
	}
	replace(w.t, w.storeOf(partition), repository.BackupInfoKey(w.path()), b)
}

// Two backups without an id are not known to be copies.
func TestReleaseWithoutID(t *testing.T) {
	t.Parallel()
	w, left := heldAndMoved(t, "one")
	for _, p := range w.parts() {
		w.putID(p.Name, "")
	}
	in := w.home().Partition.Name
	if in == left {
		t.Fatal("the move has no effect without an id")
	}
	if _, err := w.release(repository.AnyHold); err != nil {
		t.Fatal(err)
	}
	expectHolds(t, w.copyIn(in))
	expectHolds(t, w.copyIn(left), "one")
}
