package collection_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// A person accepts that one backup is missing. Another one is still missed, and so is the list of condemned packs.
func TestAcceptMissing(t *testing.T) {
	for _, later := range []string{"nothing", "anne", "the list", "a new backup"} {
		t.Run(later, func(t *testing.T) {
			w, pack := missingBert(t)
			w.later(8 * day)
			w.condemn(w.pack(9))
			w.collect()
			w.lost("backups/user/bert/")
			switch later {
			case "anne":
				w.lost("backups/user/anne/")
			case "the list":
				w.mem.Lose(history.CondemnedKey)
			case "a new backup":
				w.commit("bert", nil)
			}
			w.later(day)
			if r := w.acceptMissing("user/carl"); r.Blocking == 0 || len(r.Accepted) != 0 {
				t.Errorf("%+v", r)
			}
			blocked := later == "anne" || later == "the list"
			if r := w.acceptMissing("user/bert", "user/carl"); r.Blocking > 0 != blocked || !slices.Equal(r.Accepted, []string{"user/bert"}) {
				t.Errorf("%v: %v", r.Accepted, r.Blocked)
			}
			w.nights(4, blocked)
			if w.has(pack) != blocked {
				t.Errorf("the pack exists: %v", w.has(pack))
			}
			if later == "a new backup" {
				w.lost("backups/user/bert/")
				w.nights(2, true)
			}
		})
	}
}

// A dry run stores no acceptance.
func TestAcceptMissingDry(t *testing.T) {
	w, _ := missingBert(t)
	w.lost("backups/user/bert/")
	o := w.options()
	o.DryRun, o.AcceptMissing = true, map[string]bool{"user/bert": true}
	if r, err := collection.Collect(t.Context(), w.config(), o); err != nil || r.Blocking > 0 || len(r.Accepted) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	w.nights(2, true)
}

// What refuses although nobody has made a mistake, until a person accepts it.
func TestAcceptWhatIsNoMistake(t *testing.T) {
	for name, happens := range map[string]func(w *world){
		"the newest commit is lost, and the user is inactive": func(w *world) { w.mem.Lose(history.LogKey("user/bert", 2)) },
		"the newest commit is lost, and was sent again": func(w *world) {
			w.mem.Lose(history.LogKey("user/bert", 2))
			w.commit("bert", nil)
		},
		"repaired, and then erased": func(w *world) {
			w.mem.Lose("backups/user/bert/backup.json")
			w.found("bert")
			w.erase("bert")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := missingBert(t)
			happens(w)
			w.later(hour)
			w.nights(2, true)
			if r := w.acceptMissing("user/bert"); r.Blocking > 0 {
				t.Error(r.Blocked)
			}
			w.nights(2, false)
		})
	}
}

// Many backups are missing. Some are listed, a number shows that there may be more, and all are named on request.
func TestAllMissingAreNamed(t *testing.T) {
	w := newWorld(t)
	for i := range 100 {
		w.commit(fmt.Sprintf("user%03d", i), nil)
	}
	w.later(hour)
	w.collect()
	w.later(hour)
	for i := range 5 {
		w.aside(fmt.Sprintf("user%03d", 90+i))
	}
	w.lost("backups/user/user")
	w.commit("anne", nil)
	w.later(hour)
	r, err := w.tryCollect()
	if err != nil || len(r.Blocked) != collection.MostBlocked || r.Blocking+r.Unchecked < 95 {
		t.Errorf("%d, %d, %d; %v", len(r.Blocked), r.Blocking, r.Unchecked, err)
	}
	w.later(hour)
	named := map[string]bool{}
	o := w.options()
	o.Missing = func(b collection.BlockedError) { named[b.Key] = true }
	r, err = collection.Collect(t.Context(), w.config(), o)
	for _, b := range r.Blocked {
		named[b.Key] = true
	}
	if err != nil || r.Blocking != 95 || r.Unchecked != 0 || len(named) != 95 || named["backups/user/user091"] {
		t.Errorf("%d, %d, %d; %v", r.Blocking, r.Unchecked, len(named), err)
	}
}

// A pass that is blocked knows the next time what it has read, and what it misses.
func TestRegisterWhileBlocked(t *testing.T) {
	for _, older := range []bool{false, true} {
		t.Run(fmt.Sprint(older), func(t *testing.T) {
			w, _ := missingBert(t)
			if older { // numbers are compared
				w.asOlder()
				w.mem.Lose(collection.RegisterKey)
			}
			w.later(hour)
			w.lost("backups/user/bert/")
			w.commit("dave", nil)
			w.nights(1, true)
			var reads atomic.Int64
			w.mem.SetFaults(func(op, key string) error {
				if op == "get" && strings.HasPrefix(key, "backups/") {
					reads.Add(1)
				}
				return nil
			}, nil)
			w.nights(2, true)
			w.mem.SetFaults(nil, nil)
			if reads.Load() > 0 {
				t.Errorf("%d reads for backups that have not changed", reads.Load())
			}
			w.lost("backups/user/dave/")
			if r, err := w.tryCollect(); err != nil || r.Blocking < 1 || !strings.Contains(fmt.Sprint(r.Blocked), "user/dave: ") {
				t.Errorf("%v, %v", r.Blocked, err)
			}
		})
	}
}

// The copy of a backup becomes complete after passes have missed it.
func TestSetAsideWhileBlocked(t *testing.T) {
	w, _ := missingBert(t)
	f := faultstore.New(w.mem)
	f.Add(faultstore.Fault{Skip: 1, Match: func(op, key string) bool { return op == "put" && strings.HasSuffix(key, "set-aside.json") }, Before: faultstore.Lost})
	if w.setAside("bert", f) == nil {
		t.Fatal("this test no longer covers its case")
	}
	there := w.mem.Snapshot()
	w.lost("backups/user/bert/")
	w.nights(2, true)
	w.mem.Rollback(there, "backups/user/bert/", true)
	w.aside("bert")
	w.nights(2, false)
}

// A backup that cannot be read keeps its line in the register.
func TestUnreadableWhileBlocked(t *testing.T) {
	w, _ := missingBert(t)
	unknown := "backups/user/bert/unknown"
	w.put(unknown, []byte("?"))
	w.nights(2, true)
	w.mem.Lose(unknown)
	w.lost("backups/user/bert/")
	w.nights(2, true)
}

// A pass that ends because of the register leaves no file open.
func TestRegisterLeavesNoFile(t *testing.T) {
	open := func() int {
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(files)
	}
	w, _ := missingBert(t)
	putRegister(w, strings.Replace(registerLines(w)[0], `"version":1`, `"version":2`, 1))
	before := open()
	for range 20 {
		if _, err := w.tryCollect(); err == nil {
			t.Fatal("this test no longer covers its case")
		}
	}
	if after := open(); after >= before+20 {
		t.Errorf("%d files are open, %d were", after, before)
	}
}

// An interrupted set-aside has left objects. If backup.json, which shows whose they are, is lost, the copy does not count. Otherwise
// the pass reports what to do, and asks for none of the objects.
func TestLeftObjects(t *testing.T) {
	for _, lost := range []bool{false, true} {
		w := threeUsers(t)
		for n := range 30 {
			w.commit("bert", map[int]string{10 + n: ""})
		}
		w.checkpoint("bert")
		w.collect()
		w.later(2 * day)
		f := faultstore.New(w.mem)
		f.Add(faultstore.Fault{Match: func(op, key string) bool {
			return op == "delete" && strings.HasSuffix(key, "/log/0000000000000002.tar.zst")
		}, Before: faultstore.Lost})
		if w.setAside("bert", f) == nil {
			t.Fatal("this test no longer covers its case")
		}
		if lost {
			w.mem.Lose("backups/user/bert/backup.json")
			w.nights(2, true)
			continue
		}
		var asked atomic.Int64
		w.mem.SetFaults(func(op, key string) error {
			if op == "stat" && strings.Contains(key, "user/bert/") {
				asked.Add(1)
			}
			return nil
		}, nil)
		r, err := w.tryCollect()
		w.mem.SetFaults(nil, nil)
		if err != nil || r.Blocking > 0 || r.Keeping != 1 || r.Kept[0].Key != "backups/user/bert" || asked.Load() > 0 {
			t.Errorf("%v, %v, %v; %d requests", r.Blocked, r.Kept, err, asked.Load())
		}
		w.later(hour)
		w.aside("bert")
		if r := w.collect(); r.Keeping > 0 {
			t.Error(r.Kept)
		}
	}
}
