package erasure_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// killed runs an erasure that is killed at a request.
func (w *world) killed(skip int, match func(op, key string) bool) {
	w.t.Helper()
	f := faultstore.New(w.mem)
	w.store = f
	f.Add(faultstore.Fault{Skip: skip, Match: match, Before: func(string, string) error {
		return &objstore.Error{Op: "test", Err: errors.New("killed")}
	}})
	_, err := w.tryErase()
	w.store = w.mem
	if err == nil {
		w.t.Fatal("the erasure has ended")
	}
	w.later(hour)
}

func putsPacks(op, key string) bool {
	return op == "put" && strings.HasSuffix(key, ".packs.zst")
}

func deletesCopy(op, key string) bool {
	return op == "delete" && strings.HasPrefix(key, "set-aside/")
}

// An erasure was interrupted after the backup was set aside, and the name has a new backup since
// then. The erasure that continues leaves that, also if somebody has set it aside.
func TestContinueBesideNewer(t *testing.T) {
	for _, aside := range []bool{false, true} {
		w := newWorld(t)
		private, mixed := w.content()
		w.killed(0, putsPacks)
		if r := w.records(); len(r) != 1 || r[0].State != repository.ErasureBegun || len(r[0].IDs) != 1 {
			t.Fatalf("%+v", r)
		}
		w.later(30 * day)
		w.commit("anne", map[int]string{105: ""})
		w.later(hour)
		began := w.now.Add(-time.Minute)
		for range 2 {
			w.put(repository.BackupInfoKey(anne), w.mem.Bytes(repository.BackupInfoKey(anne)))
		}
		w.later(hour)
		if aside {
			if _, err := w.remains().SetAsideToErase(t.Context(), "test", w.lock()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.tryErase(); !errors.Is(err, erasure.ErrNewer) {
			t.Errorf("%v", err)
		}
		if s := w.look(); len(s.Copies) != 1 || s.Copies[0].Messages != 1 || (s.Copies[0].Aside != "") != aside {
			t.Errorf("left: %+v", s.Copies)
		}
		if left := w.needles(); !slices.Equal(left, slices.Sorted(slices.Values([]string{private, mixed}))) {
			t.Errorf("the needle is in %q", left)
		}
		if !aside {
			w.check("anne", 105)
			if n := w.former("backups/user/anne/", began); n != 1 {
				t.Errorf("the new backup has %d former versions, want that of backup.json", n)
			}
		}
		w.later(hour)
		w.erase() // the new one, too
		if s := w.look(); len(s.Copies) != 0 {
			t.Errorf("left: %+v", s.Copies)
		}
		w.later(erasure.Grace + time.Minute)
		w.finish()
		w.gone()
	}
}

// former counts former versions that are younger than a time.
func (w *world) former(prefix string, after time.Time) (n int) {
	w.t.Helper()
	for v, err := range w.mem.Noncurrent(w.t.Context(), prefix, "") {
		if err != nil {
			w.t.Fatal(err)
		}
		if !v.Marker && v.Modified.After(after) {
			n++
		}
	}
	return n
}

// An erasure of a backup without backup.json needs one run, or two after an interruption.
func TestWithoutID(t *testing.T) {
	for _, interrupted := range []bool{false, true} {
		w := newWorld(t)
		private, mixed := w.content()
		w.mem.Lose(repository.BackupInfoKey(anne))
		if interrupted {
			w.killed(0, putsPacks)
			if _, err := w.tryErase(); !errors.Is(err, erasure.ErrNewer) {
				t.Errorf("%v", err)
			}
		}
		w.erase()
		w.erased(private, mixed)
	}
}

// An erasure was interrupted when nothing but leases was left below backups/.
func TestContinueAfterClear(t *testing.T) {
	w := newWorld(t)
	private, mixed := w.content()
	leases := false
	w.killed(0, func(op, key string) bool {
		leases = leases || op == "delete" && key == repository.BackupInfoKey(anne)
		return leases && key == repository.LockKey(anne)
	})
	if list, err := repository.Remains(t.Context(), w.parts(), anneName); err != nil || len(list) != 1 || w.has(repository.BackupInfoKey(anne)) || !w.has(repository.LockKey(anne)) {
		t.Fatal(list, err)
	}
	w.erase()
	w.erased(private, mixed)
}

// moved puts what a move leaves into another partition.
func (w *world) moved(to *world) {
	for key, b := range w.mem.All() {
		if strings.HasPrefix(key, "packs/") || w.has(key) && strings.HasPrefix(key, "backups/user/anne/") {
			to.put(key, b)
		}
	}
}

// A copy appears in another partition while a person reads the survey, or during the erasure: it
// reports that, and has not touched the copy.
func TestMovedMeanwhile(t *testing.T) {
	for when, match := range map[string]func(op, key string) bool{
		"before":  nil,
		"begun":   func(op, key string) bool { return op == "put" && strings.HasPrefix(key, "erased/") },
		"at last": putsPacks,
	} {
		t.Run(when, func(t *testing.T) {
			w, cold := newWorld(t), newWorld(t)
			w.content()
			parts := func() []repository.Config {
				c := cold.config()
				c.Name = "cold"
				return []repository.Config{w.config(), c}
			}
			other := newWorld(t)
			w.moved(other)
			f := faultstore.New(w.mem)
			w.store = f
			s := w.look(parts()...)
			before := w.mem.Snapshot()
			if match == nil {
				other.moved(cold)
			} else {
				f.Add(faultstore.Fault{Count: 1, Match: match, Call: func(string, string) { other.moved(cold) }})
			}
			_, err := erasure.Erase(t.Context(), s, w.options())
			if !errors.Is(err, erasure.ErrChanged) || !strings.Contains(err.Error(), "partition cold: user/anne: ") {
				t.Errorf("%v", err)
			}
			if len(cold.below("backups/user/anne/")) == 0 {
				t.Error("the moved copy is gone")
			}
			if changed := w.mem.Changed(before); match == nil && len(changed) > 0 {
				t.Errorf("changed: %q", changed)
			}
			if removed := len(w.below("set-aside/")) == 0; removed != (when == "at last") && when != "before" {
				t.Errorf("the copy that was set aside was removed: %v", removed)
			}
			w.store = w.mem
			w.later(hour)
			cold.now = w.now
			if _, err := erasure.Erase(t.Context(), w.look(parts()...), w.options()); err != nil {
				t.Error(err)
			}
			for _, x := range []*world{w, cold} {
				if left := append(x.below("backups/user/anne/"), x.below("set-aside/")...); len(left) > 0 {
					t.Errorf("left: %q", left)
				}
			}
		})
	}
}

// The backup is another one than the person has seen.
func TestOtherBackupSinceLook(t *testing.T) {
	w := newWorld(t)
	w.content()
	s := w.look()
	w.erase()
	w.later(hour)
	w.commit("anne", map[int]string{105: ""})
	before := w.mem.Snapshot()
	if _, err := erasure.Erase(t.Context(), s, w.options()); !errors.Is(err, erasure.ErrChanged) {
		t.Errorf("%v", err)
	}
	if changed := w.mem.Changed(before); len(changed) > 0 {
		t.Errorf("changed: %q", changed)
	}
	w.check("anne", 105)
}

// A hold on a later backup, which was set aside since, does not keep an interrupted removal from
// continuing, and with it the collection of the partition.
func TestResumeBesideHold(t *testing.T) {
	w := newWorld(t)
	w.content()
	w.killed(2, deletesCopy)
	w.commit("anne", map[int]string{105: ""})
	w.later(hour)
	if _, err := w.remains().SetAsideToErase(t.Context(), "later", w.lock()); err != nil {
		t.Fatal(err)
	}
	for _, c := range w.look().Copies {
		if c.Messages == 1 {
			w.hold(c.Found, repository.HoldPlaced)
		}
	}
	w.later(hour)
	if done, err := erasure.Resume(t.Context(), w.config(), anneName, w.lock()); err != nil || len(done) != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	if s := w.look(); len(s.Copies) != 1 || s.Copies[0].Messages != 1 || s.Copies[0].Held == nil {
		t.Errorf("left: %+v", s.Copies)
	}
	if r, err := collection.Collect(t.Context(), w.config(), w.collectOptions()); err != nil || r.Blocking > 0 {
		t.Errorf("collection: blocked %v %v", r.Blocked, err)
	}
}
