package collection_test

import (
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// restore copies a backup that was set aside back to its place, up to a commit.
func (w *world) restore(copied, user string, upTo uint64) {
	for _, key := range w.mem.Keys(copied + "/") {
		rel := strings.TrimPrefix(key, copied+"/")
		if n, _, ok := history.ParseLogKey("user/"+user, "backups/user/"+user+"/"+rel); rel != "set-aside.json" && (!ok || n <= upTo) {
			w.mem.Copy(key, "backups/user/"+user+"/"+rel)
		}
	}
}

// A copy of a former life of the name, or of this backup before it was restored from an older copy, has more commits than the
// backup that is missing, and explains nothing. Only the packs of that one could be removed.
func TestFormerCopyExplainsNothing(t *testing.T) {
	for name, begin := range map[string]func(w *world){
		"former life": func(w *world) { w.aside("bert") },
		"former life, whose set-aside ended before its last step": func(w *world) {
			f := faultstore.New(w.mem)
			f.Add(faultstore.Fault{Skip: 2, Match: func(op, key string) bool { return op == "put" && strings.HasSuffix(key, "set-aside.json") }, Before: faultstore.Lost})
			if w.setAside("bert", f) == nil {
				w.t.Fatal("this test no longer covers its case")
			}
		},
		"restored": func(w *world) { w.restore(w.aside("bert"), "bert", 1) },
	} {
		for _, touched := range []bool{false, true} { // a later put of set-aside.json
			t.Run(name, func(t *testing.T) {
				w := newWorld(t)
				w.commit("anne", map[int]string{1: ""})
				for n := 1; n <= 5; n++ {
					w.commit("bert", map[int]string{n: ""})
				}
				begin(w)
				w.later(hour)
				pack := w.pack(8)
				w.commit("bert", nil)
				w.commit("bert", map[int]string{8: pack})
				w.later(8 * day)
				w.collect()
				w.later(hour)
				there := w.mem.Snapshot()
				w.lost("backups/user/bert/")
				if touched {
					for _, key := range w.mem.Keys("set-aside/user/bert/") {
						w.put(key, w.mem.Bytes(key))
					}
				}
				w.nights(4, true)
				if !w.has(pack) || w.condemned(pack) {
					t.Errorf("the pack exists: %v, condemned: %v", w.has(pack), w.condemned(pack))
				}
				w.mem.Rollback(there, "backups/user/bert/", true)
				w.nights(4, false)
				w.check("bert")
			})
		}
	}
}

// A backup was restored from its copy. The copy is older than the register, and explains nothing until a person accepts that.
func TestCopyIsOlder(t *testing.T) {
	w, _ := missingBert(t)
	w.restore(w.aside("bert"), "bert", 2)
	w.later(hour)
	w.nights(1, false)
	w.lost("backups/user/bert/")
	w.nights(2, true)
	w.acceptMissing("user/bert")
	w.nights(2, false)
}

// The log of a backup is lost, and begins again with as many commits as it had. Something old may be left of it, and its id. It is
// not the backup of the register.
func TestLogBeginsAgain(t *testing.T) {
	for name, c := range map[string]struct {
		keep   []string
		merged bool
	}{
		"backup.json is left":            {keep: []string{"backup.json"}},
		"backup.json is left, merged":    {keep: []string{"backup.json"}, merged: true},
		"an old object is left":          {keep: []string{"records/"}},
		"an old object is left, merged":  {keep: []string{"records/"}, merged: true},
		"the newest commit is lost":      {keep: []string{"backup.json", "log/0000000000000001"}},
		"all but the log, and it merged": {keep: []string{"backup.json", "records/", "uses"}, merged: true},
	} {
		t.Run(name, func(t *testing.T) {
			w, pack := missingBert(t)
			there := w.mem.Snapshot()
			for _, key := range w.mem.Keys("backups/user/bert/") {
				rel, kept := strings.TrimPrefix(key, "backups/user/bert/"), false
				for _, k := range c.keep {
					kept = kept || strings.HasPrefix(rel, k)
				}
				if !kept {
					w.mem.Lose(key)
				}
			}
			for range 3 {
				w.commit("bert", nil)
			}
			if c.merged {
				w.later(4 * day)
				w.segment("bert", 1, 2)
			}
			w.nights(4, true)
			if !w.has(pack) || w.condemned(pack) {
				t.Errorf("the pack exists: %v, condemned: %v", w.has(pack), w.condemned(pack))
			}
			loseAll(w, "backups/user/bert/")
			w.mem.Rollback(there, "backups/user/bert/", true)
			w.nights(4, false)
			w.check("bert")
		})
	}
}

// A run has merged a commit of another log, which has the number of the lost one.
func TestMergedCommitOfAnotherLog(t *testing.T) {
	for _, another := range []bool{false, true} {
		w, _ := missingBert(t)
		if another {
			loseAll(w, "backups/user/bert/log/")
			w.commit("bert", nil)
			w.commit("bert", nil)
		}
		w.commit("bert", nil)
		w.later(4 * day)
		key := history.LogKey("user/bert", 2)
		info, err := w.mem.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		h, err := w.found("bert").Log().Header(t.Context(), 2)
		if err != nil {
			t.Fatal(err)
		}
		w.segment("bert", 1, 2)
		o := w.options()
		if o.Seen, err = collection.NewSeen(); err != nil {
			t.Fatal(err)
		}
		defer o.Seen.Close()
		if err := o.Seen.Add(info, nil, h.Random); err != nil {
			t.Fatal(err)
		}
		if r, err := collection.Collect(t.Context(), w.config(), o); err != nil || r.Blocking > 0 != another {
			t.Errorf("%v: %v, %v", another, r.Blocked, err)
		}
	}
}

// A run has merged a commit, and the bucket went back before the collection: the commit names what it named before.
func TestMergedCommitIsThereAgain(t *testing.T) {
	w, pack := missingBert(t)
	key := history.LogKey("user/bert", 2)
	info, err := w.mem.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	o := w.options()
	o.Cache = ""
	if o.Seen, err = collection.NewSeen(); err != nil {
		t.Fatal(err)
	}
	defer o.Seen.Close()
	if err := o.Seen.Add(info, nil, "r"); err != nil {
		t.Fatal(err)
	}
	w.mem.Lose("backups/user/bert/uses.ndjson.zst")
	w.later(8 * day)
	if r, err := collection.Collect(t.Context(), w.config(), o); err != nil || r.Blocking > 0 || r.Used.Packs != 1 || w.condemned(pack) {
		t.Errorf("%+v, %v", r, err)
	}
}

// A log was lost and began again. Retention of the new one does not end the block.
func TestBlockDoesNotEnd(t *testing.T) {
	w, pack := missingBert(t)
	loseAll(w, "backups/user/bert/log/")
	w.commit("bert", nil)
	w.commit("bert", nil)
	w.nights(1, true)
	w.retain("bert")
	w.nights(3, true)
	if !w.has(pack) || w.condemned(pack) {
		t.Errorf("the pack exists: %v, condemned: %v", w.has(pack), w.condemned(pack))
	}
}

// segment merges commits of a user without bodies.
func (w *world) segment(user string, from, to uint64) {
	w.t.Helper()
	f := w.found(user)
	b := history.NewSegmentBuilder(f.Path, pack.Options{})
	for c, err := range f.Log().Commits(w.t.Context(), from, to) {
		if err == nil {
			err = b.Add(c, nil)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	key, object, err := b.Finish()
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(key, object)
	for n := from; n <= to; n++ {
		w.mem.Lose(history.LogKey(f.Path, n))
	}
}

// A backup continues: its newest commit of the last pass was merged, removed by retention, or put again by a repair.
func TestBackupContinues(t *testing.T) {
	log := func(n uint64) string { return history.LogKey("user/bert", n) }
	for name, happens := range map[string]func(w *world){
		"merged": func(w *world) { w.segment("bert", 1, 3) },
		"merged, and a repaired backup.json": func(w *world) {
			w.segment("bert", 1, 3)
			w.mem.Lose("backups/user/bert/backup.json")
			w.found("bert")
		},
		"removed": func(w *world) {
			w.retain("bert")
			w.retain("bert")
		},
		"put again": func(w *world) { w.put(log(3), w.mem.Bytes(log(3))) },
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := missingBert(t)
			w.commit("bert", nil)
			w.collect()
			w.later(3 * day)
			w.commit("bert", nil)
			w.checkpoint("bert")
			w.later(3 * day)
			happens(w)
			w.nights(2, false)
			w.lost("backups/user/bert/")
			w.nights(2, true)
		})
	}
}

// The id of a backup is unknown to the register. The erasure of another backup of the name explains nothing.
func TestErasedWithUnknownID(t *testing.T) {
	w, _ := missingBert(t)
	w.mem.Truncate("backups/user/bert/backup.json", 5)
	w.nights(1, false)
	w.lost("backups/user/bert/")
	w.commit("bert", nil)
	w.erase("bert")
	w.nights(3, true)
}

// acceptMissing runs a pass that need not find some backups, and returns its result.
func (w *world) acceptMissing(paths ...string) *collection.Result {
	w.t.Helper()
	o := w.options()
	o.AcceptMissing = map[string]bool{}
	for _, p := range paths {
		o.AcceptMissing[p] = true
	}
	r, err := collection.Collect(w.t.Context(), w.config(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}
