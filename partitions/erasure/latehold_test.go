package erasure_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A daemon has read the backup for its tripwire, and its hold arrives after the backup was set aside,
// at each request until the copies are being removed. Nothing is removed, and the next backup of the
// name is not on hold.
func TestLateTripwire(t *testing.T) {
	for _, at := range []string{"upkeep.json", ".packs.zst", "condemned.json", "backups/user/anne/holds.json"} {
		t.Run(at, func(t *testing.T) {
			w := newWorld(t)
			w.content()
			f := w.found("anne") // as read before
			placed := false
			calling := faultstore.New(w.mem)
			calling.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool {
				return (key == at || at[0] == '.' && strings.HasSuffix(key, at)) && (op == "put" || op == "stat" && strings.HasSuffix(key, "holds.json"))
			}, Call: func(string, string) {
				placed = true
				w.hold(f, repository.HoldTripwire)
			}})
			w.store = calling
			s := w.look()
			_, err := erasure.Erase(t.Context(), s, w.options())
			w.store = w.mem
			if !placed || !errors.Is(err, repository.ErrOnHold) {
				t.Fatal(placed, err)
			}
			if left := w.mem.Keys("backups/user/anne/"); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
			if r := w.records()[0]; r.State != repository.ErasureBegun {
				t.Errorf("%+v", r)
			}
			s = w.look()
			if len(s.Copies) != 1 || s.Copies[0].Messages != 4 || !errors.Is(s.Held(), repository.ErrOnHold) {
				t.Fatalf("%+v, %v", s.Copies, s.Held())
			}
			w.later(hour)
			if _, err := s.Copies[0].ReleaseHolds(t.Context(), w.here, repository.AnyHold); err != nil {
				t.Fatal(err)
			}
			w.erase()
			w.later(erasure.Grace + hour)
			w.finish()
			w.gone()
			w.commit("anne", map[int]string{105: ""})
			if err := w.found("anne").CheckHolds(t.Context(), w.now); err != nil {
				t.Errorf("the next backup: %v", err)
			}
		})
	}
}

// A hold of a new backup of the name is not about the copies.
func TestHoldOfNewBackup(t *testing.T) {
	w := newWorld(t)
	w.content()
	calling := faultstore.New(w.mem)
	calling.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "put" && strings.HasSuffix(key, ".packs.zst") }, Call: func(string, string) {
		w.commit("anne", map[int]string{105: ""})
		w.hold(w.found("anne"), repository.HoldTripwire)
	}})
	w.store = calling
	if _, err := w.tryErase(); err != nil {
		t.Log(err)
	}
	w.store = w.mem
	if r := w.records()[0]; r.State != repository.ErasurePending {
		t.Errorf("%+v", r)
	}
	if err := w.found("anne").CheckHolds(t.Context(), w.now); !errors.Is(err, repository.ErrOnHold) {
		t.Errorf("the new backup: %v", err)
	}
}
