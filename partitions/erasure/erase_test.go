package erasure_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// erased checks the state after Erase: the record, the packs on record, and the other user.
func (w *world) erased(private, mixed string) {
	w.t.Helper()
	for _, prefix := range []string{"backups/user/anne/", "set-aside/"} {
		left := slices.DeleteFunc(w.below(prefix), func(key string) bool { // former leases, of another run
			return !w.has(key) && (strings.HasSuffix(key, "/lock.json") || strings.HasSuffix(key, "/upkeep.json"))
		})
		if len(left) > 0 {
			w.t.Errorf("left below %s: %q", prefix, left)
		}
	}
	if left := w.needles(); !slices.Equal(left, slices.Sorted(slices.Values([]string{private, mixed}))) {
		w.t.Errorf("the needle is in %q", left)
	}
	var packs int64
	for _, r := range w.open() {
		if packs += r.Packs; r.State != repository.ErasurePending || r.Unknown != 0 {
			w.t.Errorf("record: %+v", r)
		}
	}
	if packs != 2 {
		w.t.Errorf("%d packs are on record", packs)
	}
	for _, p := range []string{private, mixed} {
		if !w.condemned(p) {
			w.t.Errorf("%s is not condemned", p)
		}
	}
	w.check("bert", 103, 104)
}

// Erase removes every copy with its versions, and records the packs.
func TestErase(t *testing.T) {
	w := newWorld(t)
	private, mixed := w.content()
	w.later(hour)
	if _, err := w.remains().SetAsideToErase(t.Context(), "an older copy", w.lock()); err != nil {
		t.Fatal(err)
	}
	w.later(hour)
	w.commit("anne", map[int]string{5: "", 3: mixed})
	w.later(hour)
	s := w.look()
	if len(s.Copies) != 2 || s.Copies[0].Messages != 2 || s.Copies[1].Messages != 4 || s.Held() != nil {
		t.Fatalf("%+v", s.Copies)
	}
	done, err := erasure.Erase(t.Context(), s, w.options())
	if err != nil || len(done) != 1 {
		t.Fatal(done, err)
	}
	w.erased(private, mixed)
	r := w.open()[0]
	if len(r.Copies) != 2 || r.By != "root" || r.Reason != "she left" || r.Name != "anne" || !r.Removed.Equal(w.now) || r.Objects < 10 || r.Bytes == 0 {
		t.Errorf("%+v", r)
	}
	again := w.look()
	if len(again.Copies) != 0 || len(again.Records) != 1 {
		t.Errorf("%+v", again)
	}
	before := w.mem.Snapshot()
	if _, err := erasure.Erase(t.Context(), again, w.options()); err != nil {
		t.Error(err)
	}
	if changed := w.mem.Changed(before); len(changed) > 0 {
		t.Errorf("a second run has changed %q", changed)
	}
}

func (w *world) remains() *repository.Found {
	w.t.Helper()
	list, err := repository.Remains(w.t.Context(), []repository.Config{w.config()}, repository.UserName("anne"))
	if err != nil || len(list) != 1 {
		w.t.Fatal(list, err)
	}
	return list[0]
}

// A hold on any copy forbids everything, whoever placed it, and so does an unreadable one.
func TestHeld(t *testing.T) {
	for name, hold := range map[string]func(*world, *repository.Found){
		"hold":     func(w *world, f *repository.Found) { w.hold(f, repository.HoldPlaced) },
		"tripwire": func(w *world, f *repository.Found) { w.hold(f, repository.HoldTripwire) },
		"unreadable": func(w *world, f *repository.Found) {
			key := repository.HoldsKey(f.Path)
			if f.Aside != "" {
				key = f.Aside + "/holds.json"
			}
			w.put(key, []byte("{"))
		},
	} {
		for _, where := range []string{"active", "aside", "active meanwhile", "aside meanwhile"} {
			t.Run(name+" "+where, func(t *testing.T) {
				w := newWorld(t)
				w.content()
				if strings.HasPrefix(where, "aside") {
					if _, err := w.remains().SetAsideToErase(t.Context(), "test", w.lock()); err != nil {
						t.Fatal(err)
					}
				}
				s := w.look()
				copied := s.Copies[len(s.Copies)-1]
				hold(w, copied.Found)
				if !strings.HasSuffix(where, "meanwhile") {
					s = w.look()
				}
				before := w.mem.Snapshot()
				_, err := erasure.Erase(t.Context(), s, w.options())
				if !errors.Is(err, repository.ErrOnHold) || !strings.Contains(err.Error(), "partition p: ") {
					t.Errorf("%v", err)
				}
				for _, key := range w.mem.Changed(before) {
					if !strings.HasPrefix(key, "erased/") && !strings.HasSuffix(key, "upkeep.json") {
						t.Errorf("%s has changed", key)
					}
				}
			})
		}
	}
}

func (w *world) hold(f *repository.Found, kind string) {
	w.t.Helper()
	if err := f.PlaceHold(w.t.Context(), repository.Hold{Kind: kind, By: "test"}, w.here); err != nil {
		w.t.Fatal(err)
	}
}

// Each request fails in turn, without effect or without an answer. A second run completes the work.
func TestEachRequestFails(t *testing.T) {
	for _, how := range []string{"before", "after"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			n := 0
			for more := true; more; n += stride() {
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					w := newWorld(t)
					private, mixed := w.content()
					f := faultstore.New(w.mem)
					w.store = f
					f.Add(lost(n, how == "after"))
					_, err := w.tryErase()
					more = f.Struck() > 0
					f.Clear()
					w.store = w.mem
					if err != nil {
						w.later(hour) // its leases have ended
						w.erase()
					}
					w.erased(private, mixed)
				})
			}
			if n < 50 {
				t.Errorf("only %d requests", n)
			}
		})
	}
}

// Objects whose owner is unknown stop everything.
func TestStray(t *testing.T) {
	w := newWorld(t)
	w.content()
	w.put("set-aside/user/anne/20260101T000000Z/log/0000000000000001.tar.zst", []byte("x"))
	before := w.mem.Snapshot()
	if _, err := w.tryErase(); !errors.Is(err, erasure.ErrStray) {
		t.Errorf("%v", err)
	}
	if changed := w.mem.Changed(before); len(changed) > 0 {
		t.Errorf("changed: %q", changed)
	}
}

// The folder of another user may have a copy of the backup, and the user's folder one of another.
func TestCopyInOtherFolder(t *testing.T) {
	w := newWorld(t)
	w.content()
	w.put("set-aside/user/carl/20260101T000000Z/set-aside.json", []byte(`{"version":1,"backup":"user/anne","name":"anne","kind":"user","state":"done"}`))
	w.put("set-aside/user/carl/20260101T000000Z/records/x", []byte(needle))
	w.put("set-aside/user/anne/20260101T000000Z/set-aside.json", []byte(`{"version":1,"backup":"user/carl","name":"carl","kind":"user","state":"done"}`))
	w.erase()
	if left := w.below("set-aside/"); len(left) != 1 || left[0] != "set-aside/user/anne/20260101T000000Z/set-aside.json" {
		t.Errorf("left: %q", left)
	}
}

// A new backup of the same name that begins meanwhile is left alone, with its versions.
func TestNewLifeMeanwhile(t *testing.T) {
	w := newWorld(t)
	private, mixed := w.content()
	f := faultstore.New(w.mem)
	w.store = f
	begun := false
	f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "put" && strings.HasSuffix(key, ".packs.zst") }, Call: func(string, string) {
		begun = true
		w.later(2 * time.Minute)
		w.commit("anne", map[int]string{105: ""})
		w.commit("anne", map[int]string{103: mixed})
		w.put(repository.LockKey(anne), []byte("{}"))
		w.put(repository.LockKey(anne), []byte("{}"))
	}})
	w.erase()
	w.store = w.mem
	if !begun {
		t.Fatal("no list of packs was put")
	}
	w.check("anne", 103, 105)
	w.check("bert", 103, 104)
	if left := w.needles(); !slices.Equal(left, slices.Sorted(slices.Values([]string{private, mixed}))) {
		t.Errorf("the needle is in %q", left)
	}
	former := 0
	for v, err := range w.mem.Noncurrent(t.Context(), "backups/user/anne/", "") {
		if err != nil {
			t.Fatal(err)
		}
		if !v.Marker {
			former++
		}
	}
	if former != 1 {
		t.Errorf("the new backup has %d former versions, want that of lock.json", former)
	}
}

// Two runs that begin at the same time: one does the work.
func TestTwoRuns(t *testing.T) {
	for n, more := 0, true; more; n += stride() {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			more = false
			var failed error
			w := newWorld(t)
			private, mixed := w.content()
			second := w.look()
			f := faultstore.New(w.mem)
			w.store = f
			f.Add(faultstore.Fault{Skip: n, Count: 1, Call: func(string, string) {
				more = true
				o := w.options()
				o.Lock.Wait = false
				_, failed = erasure.Erase(t.Context(), second, o)
			}})
			_, err := w.tryErase()
			w.store = w.mem
			if err != nil || failed != nil {
				w.later(hour)
				w.erase()
			}
			w.erased(private, mixed)
			for _, r := range w.records() {
				if r.State != repository.ErasurePending && r.State != repository.ErasureDone {
					t.Errorf("a record is left %s", r.State)
				}
			}
		})
	}
}

// An erasure that was interrupted at any request after its packs were recorded is completed without
// touching a new backup of the same name.
func TestResume(t *testing.T) {
	resumed := 0
	for n, more := 0, true; more; n += stride() {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			more = false
			w := newWorld(t)
			private, mixed := w.content()
			f := faultstore.New(w.mem)
			w.store = f
			f.Add(faultstore.Fault{Skip: n, Before: func(string, string) error { // killed
				more = true
				return &objstore.Error{Op: "test", Err: errors.New("killed")}
			}})
			_, _ = w.tryErase()
			w.store = w.mem
			open := w.open()
			if len(open) == 0 || open[0].State != repository.ErasureRemoving {
				return
			}
			resumed++
			w.later(hour)
			w.commit("anne", map[int]string{105: ""})
			done, err := erasure.Resume(t.Context(), w.config(), anneName, w.lock())
			if err != nil || len(done) != 1 || done[0].State != repository.ErasurePending {
				t.Fatalf("%+v, %v", done, err)
			}
			w.check("anne", 105)
			if left := w.needles(); !slices.Equal(left, slices.Sorted(slices.Values([]string{private, mixed}))) {
				t.Errorf("the needle is in %q", left)
			}
		})
	}
	if resumed < 3 {
		t.Errorf("%d runs were interrupted while they removed copies", resumed)
	}
}
