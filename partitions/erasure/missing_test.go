package erasure_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// The backup of one user is erased with copies that were set aside before, and the backup of
// another disappears: a disk is not mounted, or somebody has made a mistake. Collection misses it.
func TestMissingBesideErasure(t *testing.T) {
	for _, with := range []string{"nothing", "an erasure", "an interrupted one", "days of removal"} {
		t.Run(with, func(t *testing.T) {
			w := newWorld(t)
			w.content()
			for range 3 {
				if _, err := w.remains().SetAsideToErase(t.Context(), "older", w.lock()); err != nil {
					t.Fatal(err)
				}
				w.later(hour)
				w.commit("anne", map[int]string{5: ""})
			}
			lonely := w.pack(150)
			w.commit("bert", map[int]string{150: lonely})
			w.commit("carl", map[int]string{106: ""})
			w.later(8 * day)
			w.collected(false)
			w.later(hour)
			switch with {
			case "nothing":
			case "an erasure":
				w.erase()
			default:
				w.deny("set-aside/")
				if _, err := w.tryErase(); !errors.Is(err, objstore.ErrDenied) {
					t.Fatal(err)
				}
				w.store = w.mem
			}
			if with == "days of removal" {
				for range 3 {
					w.later(day + hour)
					w.collected(false)
				}
			}
			for key := range w.mem.All() {
				if strings.HasPrefix(key, repository.BackupPrefix("user/bert")) {
					w.mem.Lose(key)
				}
			}
			for range 3 {
				w.later(day + hour)
				w.collected(true)
			}
			if !w.has(lonely) {
				t.Error("the pack of a missing backup was removed")
			}
		})
	}
}

// collected is one collection, and whether it is blocked.
func (w *world) collected(blocked bool) {
	w.t.Helper()
	r, err := collection.Collect(w.t.Context(), w.config(), w.collectOptions())
	if err != nil || (r.Blocking > 0) != blocked {
		w.t.Fatal(r.Blocking, r.Blocked, err)
	}
}
