package partitions_test

import (
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// erase erases anne's backup.
func (w *asideWorld) erase() {
	w.t.Helper()
	s, err := erasure.Look(w.t.Context(), []repository.Config{w.Config()}, repository.UserName("anne"), time.Now)
	if err != nil {
		w.t.Fatal(err)
	}
	o := erasure.Options{By: "test", Reason: "test", Lock: repository.LockOptions{Owner: "test", Wait: true}}
	if _, err := erasure.Erase(w.t.Context(), s, o); err != nil {
		w.t.Fatal(err)
	}
	for _, prefix := range []string{"backups/user/anne/", "set-aside/"} {
		if left := w.store.Keys(prefix); len(left) > 0 {
			w.t.Errorf("left: %q", left)
		}
	}
}

// A daemon that has an erased backup open, one with an old index, and one without any begin a new
// backup, and the client sends everything again: bodies in condemned packs are not used.
func TestEraseAndSyncAgain(t *testing.T) {
	for name, with := range map[string]func(*asideWorld){
		"open":      func(w *asideWorld) { w.erase() },
		"old index": func(w *asideWorld) { index := w.h.saveIndex(); w.erase(); w.h.restoreIndex(index) },
		"no index":  func(w *asideWorld) { w.erase(); w.h = newHost(w.t, w.store) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newAsideWorld(t)
			with(w)
			w.begun()
			list, _, err := history.ReadCondemned(t.Context(), w.store)
			if err != nil || len(list.Packs) == 0 {
				t.Fatalf("condemned: %+v, %v", list, err)
			}
			for _, key := range w.store.Keys("backups/user/anne/log/") {
				for p, err := range history.ObjectPlaces(t.Context(), w.store, key) {
					if err != nil {
						t.Fatal(err)
					}
					if list.Has(p.Object) {
						t.Errorf("%s names the condemned %s", key, p.Object)
					}
				}
			}
			w.erase() // the new one, too
			w.begun()
		})
	}
}
