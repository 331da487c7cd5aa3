package collection_test

import (
	"fmt"
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
	for _, c := range []struct {
		lost  string
		older bool
	}{{}, {lost: "anne"}, {older: true}, {lost: "anne", older: true}} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			w, lost := threeUsers(t), c.lost
			w.older = c.older
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
	for _, c := range []struct {
		newcomer string
		older    bool
	}{{}, {newcomer: "dave"}, {older: true}, {newcomer: "dave", older: true}} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			w, newcomer := threeUsers(t), c.newcomer
			w.older = c.older
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

// set-aside dies at any of its requests, perhaps while a pass runs. If its copy is complete by then, the passes of the following
// nights need no person, and still miss another backup.
func TestSetAsideDies(t *testing.T) {
	complete := 0
	for _, during := range []bool{false, true} {
		for n, more := 0, true; more; n++ {
			w := threeUsers(t)
			w.collect()
			w.later(2 * day) // backup.json without a log counts as damage
			f := faultstore.New(w.mem)
			f.Add(faultstore.Fault{Skip: n, Match: func(op, key string) bool {
				return (op == "put" || op == "delete") && (strings.HasPrefix(key, "backups/user/bert/") || strings.HasPrefix(key, "set-aside/"))
			}, Before: faultstore.Lost})
			die := func() { more = w.setAside("bert", f) != nil }
			if during {
				w.duringCount(die)
			} else {
				die()
			}
			_, err := w.tryCollect()
			if err != nil {
				t.Error(err)
			}
			w.store = w.mem
			info := w.mem.Keys("set-aside/user/bert/")
			if len(info) == 0 || strings.Contains(string(w.mem.Bytes(info[len(info)-1])), "copying") {
				continue
			}
			complete++
			for range 3 {
				w.later(day)
				if r, err := w.tryCollect(); err != nil || r.Blocking > 0 {
					t.Errorf("during %v, request %d: %v, %v", during, n, r.Blocked, err)
				}
			}
			w.lost("backups/user/anne/")
			w.missed(true)
		}
	}
	if complete < 10 {
		t.Errorf("%d of the copies were complete: this test no longer covers its case", complete)
	}
}

// An object below backups/ is not in the copy that was set aside: a commit was put later, for example.
func TestLeftIsNotInCopy(t *testing.T) {
	w := threeUsers(t)
	w.commit("bert", nil)
	w.collect()
	w.later(2 * day)
	f := faultstore.New(w.mem)
	f.Add(faultstore.Fault{Match: func(op, key string) bool { return op == "delete" && strings.HasSuffix(key, "2.tar.zst") }, Before: faultstore.Lost})
	if w.setAside("bert", f) == nil {
		t.Fatal("this test no longer covers its case")
	}
	w.nights(1, false)
	there := w.mem.Snapshot()
	w.mem.Copy("backups/user/bert/log/0000000000000002.tar.zst", "backups/user/bert/log/0000000000000009.tar.zst")
	w.nights(2, true)
	w.mem.Rollback(there, "backups/user/bert/", false)
	w.nights(2, false)
}

// set-aside dies between the two counts of a pass. The pass needs no person if the copy is complete.
func TestSetAsideDiesBetweenCounts(t *testing.T) {
	for n, more := 0, true; more; n++ {
		w := newWorld(t)
		key, _ := shared(w)
		f := faultstore.New(w.mem)
		f.Add(faultstore.Fault{Skip: n, Match: func(op, key string) bool { return op == "delete" && strings.HasPrefix(key, "backups/user/anne/") }, Before: faultstore.Lost})
		w.betweenCounts(func() { more = w.setAside("anne", f) != nil })
		if r := w.collect(); r.Rewritten.Packs != 1 || n == 0 && !more {
			t.Errorf("%d, %v: %+v", n, more, r)
		}
		w.store = w.mem
		if w.nextNight(); w.has(key) {
			t.Error("the pack still exists")
		}
	}
}
