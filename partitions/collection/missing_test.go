package collection_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// lost removes objects that a disk has which is not mounted. mount puts them again.
func (w *world) lost(prefix string) (mount func()) {
	there := w.mem.Snapshot()
	loseAll(w, prefix)
	return func() { w.mem.Rollback(there, prefix, true) }
}

// betweenCounts calls fn after the first count of the next pass.
func (w *world) betweenCounts(fn func()) {
	f := faultstore.New(w.mem)
	w.store = f
	f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "list" && key == "packs/" }, Call: func(string, string) { fn() }})
}

// What disappears between the two counts of a pass blocks it, although a new user appears in the
// same minutes.
func TestMissingInSecondCount(t *testing.T) {
	for name, prefix := range map[string]string{
		"a backup":          "backups/user/anne/",
		"a log":             "backups/user/anne/log/",
		"the newest commit": "backups/user/anne/log/0000000000000002",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			key, _ := shared(w)
			var mount func()
			w.betweenCounts(func() {
				mount = w.lost(prefix)
				w.commit("dave", nil)
			})
			r, err := w.tryCollect()
			mount()
			if err != nil || r.Blocking == 0 || !w.has(key) {
				t.Errorf("exists %v: %+v, %v", w.has(key), r, err)
			}
			w.check("anne")
		})
	}
}

// A backup that is set aside between the two counts is not missing, even if its name gets a new one.
// A copy that was set aside before replaces nothing.
func TestSetAsideBetweenCounts(t *testing.T) {
	aside := func(w *world, user string) {
		if _, _, err := w.found(user).SetAside(w.t.Context(), "test", repository.LockOptions{Owner: "test", Now: w.options().Lock.Now}, nil); err != nil {
			w.t.Fatal(err)
		}
	}
	t.Run("meanwhile", func(t *testing.T) {
		w := newWorld(t)
		key, _ := shared(w)
		w.betweenCounts(func() {
			aside(w, "anne")
			w.commit("anne", nil)
		})
		if r := w.collect(); r.Rewritten.Packs != 1 {
			t.Errorf("%+v", r)
		}
		if w.nextNight(); w.has(key) {
			t.Error("the pack still exists")
		}
	})
	t.Run("during the first", func(t *testing.T) {
		w := newWorld(t)
		shared(w)
		w.duringCount(func() { aside(w, "anne") })
		if r := w.collect(); r.Rewritten.Packs != 1 || r.Twice != 1 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("before", func(t *testing.T) {
		w := newWorld(t)
		w.commit("anne", nil)
		w.commit("anne", nil)
		w.commit("anne", nil)
		aside(w, "anne")
		w.later(hour)
		key, _ := shared(w)
		w.betweenCounts(func() { w.lost("backups/user/anne/") })
		if r, err := w.tryCollect(); err != nil || r.Blocking == 0 || !w.has(key) {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// A backup that has disappeared since the last pass blocks this one, although there are new users.
func TestMissingSinceLastPass(t *testing.T) {
	for name, prefix := range map[string]string{"a backup": "backups/user/anne/", "a log": "backups/user/anne/log/", "a backup, older": "backups/user/anne/"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.older = strings.HasSuffix(name, "older")
			key := w.pack(1, 2)
			w.commit("anne", map[int]string{1: key})
			w.commit("bert", nil)
			w.collect()
			w.condemn(key)
			for _, user := range []string{"dave", "emil"} {
				w.later(25 * hour)
				mount := w.lost(prefix)
				w.commit(user, nil)
				r, err := w.tryCollect()
				mount()
				if err != nil || r.Blocking == 0 {
					t.Errorf("%+v, %v", r, err)
				}
				w.check("anne")
			}
			w.later(25 * hour)
			w.collect()
			w.check("anne")
		})
	}
}

// Users come, and are set aside, night after night. Nobody is missing.
func TestNobodyIsMissing(t *testing.T) {
	w := newWorld(t)
	w.commit("anne", nil)
	for _, user := range []string{"bert", "carl", "dave"} {
		w.commit(user, nil)
		w.collect()
		w.later(day)
		f := w.found(user)
		if _, _, err := f.SetAside(t.Context(), "test", repository.LockOptions{Owner: "test", Now: w.options().Lock.Now}, nil); err != nil {
			t.Fatal(err)
		}
		w.collect()
		w.later(day)
	}
	for _, key := range w.mem.Keys("set-aside/") {
		w.mem.Lose(key)
	}
	w.collect()
}

// A backup whose log is missing is incomplete, unless it is new. A person may set it aside.
func TestBackupWithoutLog(t *testing.T) {
	w := newWorld(t)
	p := w.pack(1)
	w.commit("anne", map[int]string{1: p})
	f := w.found("bert")
	w.later(hour)
	w.collect()
	w.later(25 * hour)
	if r, err := w.tryCollect(); err != nil || r.Blocking != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, _, err := f.SetAside(t.Context(), "test", repository.LockOptions{Owner: "test", Now: w.options().Lock.Now}, nil); err != nil {
		t.Fatal(err)
	}
	w.later(time.Minute)
	w.collect()
	if len(w.mem.Keys(history.LogKey("user/anne", 1))) != 1 {
		t.Error("no log")
	}
}
