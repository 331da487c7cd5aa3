package erasure_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// deny makes each delete below a prefix fail.
func (w *world) deny(prefix string) *faultstore.Store {
	f := faultstore.New(w.mem)
	w.store = f
	f.Add(faultstore.Fault{Match: func(op, key string) bool { return op == "delete" && strings.HasPrefix(key, prefix) }, Before: func(string, string) error {
		return &objstore.Error{Op: "delete", Err: objstore.ErrDenied}
	}})
	return f
}

// Copies cannot be removed for two days. Meanwhile collections rewrite the packs that these copies
// still use. The bodies disappear from the new packs, too.
func TestCollectedWhileRemoving(t *testing.T) {
	w := newWorld(t)
	w.content()
	f := w.deny("set-aside/")
	if _, err := w.tryErase(); !errors.Is(err, objstore.ErrDenied) {
		t.Fatal(err)
	}
	for range 2 { // compact -A
		w.later(day + hour)
		if _, err := erasure.Resume(t.Context(), w.config(), anneName, w.lock()); !errors.Is(err, objstore.ErrDenied) {
			t.Fatal(err)
		}
		if _, err := w.tryFinish(); err != nil {
			t.Fatal(err)
		}
	}
	f.Clear()
	w.later(hour)
	w.erase()
	for range 3 {
		w.later(day + hour)
		w.finish()
	}
	w.gone()
}

// The same with a hold that was placed after the interruption. The list of packs is damaged, or lost.
func TestHeldWhileRemoving(t *testing.T) {
	for name, spoil := range map[string]func(*world, string){
		"intact":  func(*world, string) {},
		"lost":    func(w *world, key string) { w.mem.Lose(key) },
		"damaged": func(w *world, key string) { w.mem.Flip(key, 20) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.content()
			w.deny("set-aside/")
			if _, err := w.tryErase(); !errors.Is(err, objstore.ErrDenied) {
				t.Fatal(err)
			}
			w.store = w.mem
			w.hold(w.look().Copies[0].Found, repository.HoldPlaced)
			w.later(day + 2*hour)
			if _, err := erasure.Resume(t.Context(), w.config(), anneName, w.lock()); !errors.Is(err, repository.ErrOnHold) {
				t.Fatal(err)
			}
			if _, err := collection.Collect(t.Context(), w.config(), w.collectOptions()); err != nil {
				t.Fatal(err)
			}
			w.later(hour)
			spoil(w, repository.ErasurePacksKey(w.records()[0].ID))
			if _, err := w.look().Copies[0].Found.ReleaseHolds(t.Context(), w.here, repository.AnyHold); err != nil {
				t.Fatal(err)
			}
			w.later(hour)
			w.erase()
			if r := w.records()[0]; (r.Unknown > 0) != (name != "intact") {
				t.Errorf("%s: %+v", name, r)
			}
			for range 3 {
				w.later(day + hour)
				w.finish()
			}
			w.gone()
		})
	}
}
