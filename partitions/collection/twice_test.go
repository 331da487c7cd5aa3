package collection_test

import (
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// duringCount calls fn in the next pass when it has listed backups, and before it lists those that were
// set aside.
func (w *world) duringCount(fn func()) {
	f := faultstore.New(w.mem)
	w.store = f
	f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "list" && key == "set-aside/" }, Call: func(string, string) { fn() }})
}

// setAside sets a backup aside through a store, and returns its error.
func (w *world) setAside(user string, s objstore.Store) error {
	f := w.found(user)
	f.Partition.Store = s
	_, _, err := f.SetAside(w.t.Context(), "test", repository.LockOptions{Owner: "test", Now: w.options().Lock.Now}, nil)
	return err
}

// threeUsers are three backups that a pass has counted.
func threeUsers(t *testing.T) *world {
	w := newWorld(t)
	for i, user := range []string{"anne", "bert", "carl"} {
		w.commit(user, map[int]string{i: ""})
	}
	w.later(hour)
	return w
}

// missed checks whether passes miss a backup, night after night.
func (w *world) missed(yes bool) {
	w.t.Helper()
	w.store = w.mem
	for range 2 {
		w.later(day)
		if r, err := w.tryCollect(); err != nil || (r.Blocking > 0) != yes {
			w.t.Errorf("missing: %v, want %v; %v, %v", r.Blocking > 0, yes, r.Blocked, err)
		}
	}
}

// A backup that is set aside while a pass lists backups is counted under both prefixes. The next pass does
// not miss it, but it misses another one.
func TestSetAsideDuringCount(t *testing.T) {
	for _, lost := range []string{"", "anne"} {
		t.Run(lost, func(t *testing.T) {
			w := threeUsers(t)
			w.duringCount(func() {
				if err := w.setAside("bert", w.mem); err != nil {
					t.Error(err)
				}
			})
			if r := w.collect(); r.Backups != 3 || r.Aside != 1 || r.Twice != 1 {
				t.Fatalf("this test no longer covers its case: %+v", r)
			}
			if lost != "" {
				w.lost("backups/user/" + lost + "/")
			}
			w.missed(lost != "")
		})
	}
}

// A backup that is counted twice does not hide that another one is missing, even if there is a new user.
func TestMissingBesideSetAside(t *testing.T) {
	for _, newcomer := range []string{"", "dave"} {
		t.Run(newcomer, func(t *testing.T) {
			w := threeUsers(t)
			w.collect()
			w.later(day)
			w.lost("backups/user/anne/")
			if newcomer != "" {
				w.commit(newcomer, nil)
			}
			w.duringCount(func() {
				if err := w.setAside("bert", w.mem); err != nil {
					t.Error(err)
				}
			})
			if r, err := w.tryCollect(); err != nil || r.Blocking == 0 || r.Twice != 1 {
				t.Errorf("%+v, %v", r, err)
			}
			w.missed(true)
		})
	}
}

// set-aside is interrupted at any of its requests, and a pass counts what it has left. Another one follows
// after the set-aside has continued. A former copy of the same backup counts as what it is.
func TestInterruptedSetAside(t *testing.T) {
	for _, former := range []bool{false, true} {
		if former && short() {
			continue
		}
		for n, more := 0, true; more; n++ {
			w := threeUsers(t)
			aside := 1
			if former {
				aside++
				if err := w.setAside("bert", w.mem); err != nil {
					t.Fatal(err)
				}
				w.later(hour)
				w.commit("bert", map[int]string{1: ""})
				w.later(hour)
			}
			w.collect()
			w.later(hour)
			f := faultstore.New(w.mem)
			f.Add(faultstore.Fault{Skip: n, Match: func(op, key string) bool {
				return (op == "put" || op == "delete") && (strings.HasPrefix(key, "backups/user/bert/") || strings.HasPrefix(key, "set-aside/"))
			}, Before: faultstore.Denied})
			more = w.setAside("bert", f) != nil
			if _, err := w.tryCollect(); err != nil { // blocked while a part of the log is left
				t.Error(err)
			}
			w.later(hour)
			if len(w.mem.Keys("backups/user/bert/backup.json")) > 0 {
				if err := w.setAside("bert", w.mem); err != nil {
					t.Fatalf("request %d: %v", n, err)
				}
			}
			if r := w.collect(); r.Backups != 2 || r.Aside < aside || r.Twice != 0 {
				t.Errorf("request %d: %+v", n, r)
			}
			w.lost("backups/user/anne/")
			w.missed(true)
			if n == 0 && !more {
				t.Error("nothing was interrupted: this test no longer covers its case")
			}
		}
	}
}
