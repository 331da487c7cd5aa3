package collection_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// missingBert is a partition with three backups that a pass has counted, another backup that was set aside, and a pack
// that only bert names.
func missingBert(t *testing.T) (w *world, pack string) {
	t.Helper()
	w = newWorld(t)
	w.commit("eric", map[int]string{7: ""})
	w.aside("eric")
	w.later(hour)
	pack = w.pack(2)
	w.commit("anne", map[int]string{1: ""})
	w.commit("bert", nil)
	w.commit("bert", map[int]string{2: pack})
	w.commit("carl", map[int]string{3: ""})
	w.later(8 * day)
	w.collect()
	w.later(hour)
	return w, pack
}

func (w *world) aside(user string) (where string) {
	w.t.Helper()
	where, _, err := w.found(user).SetAside(w.t.Context(), "test", repository.LockOptions{Owner: "test", Now: w.options().Lock.Now}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return where
}

// nights runs passes for some nights. blocked is what they have to be.
func (w *world) nights(n int, blocked bool) {
	w.t.Helper()
	for night := range n {
		if r, err := w.tryCollect(); err != nil || (r.Blocking > 0) != blocked {
			w.t.Errorf("night %d: blocked %v, want %v: %v, %v", night, r.Blocking > 0, blocked, r.Blocked, err)
		}
		w.later(25 * hour)
	}
}

// holdCopy puts holds into the copy of eric.
func (w *world) holdCopy() {
	w.put("set-aside/user/eric/20270301T120000Z/holds.json", []byte(`{"version":1,"holds":[]}`))
}

// whatHidesBert is what has happened since the last pass, beside the loss of bert, and is no explanation of it.
var whatHidesBert = map[string]func(w *world, lose func()){
	"nothing": func(_ *world, lose func()) { lose() },
	"another one began and was set aside": func(w *world, lose func()) {
		lose()
		w.commit("dave", nil)
		w.aside("dave")
	},
	"another one began and was erased": func(w *world, lose func()) {
		lose()
		w.commit("dave", nil)
		w.erase("dave")
	},
	"another one was set aside": func(w *world, lose func()) {
		lose()
		w.aside("carl")
		w.commit("carl", nil)
	},
	"another one of this name began": func(w *world, lose func()) {
		lose()
		w.commit("bert", nil)
		w.commit("bert", nil)
	},
	"another one of this name was set aside": func(w *world, lose func()) {
		lose()
		w.commit("bert", nil)
		w.commit("bert", nil)
		w.aside("bert")
	},
	"another one of this name was set aside because of its backup.json": func(w *world, lose func()) {
		lose()
		w.commit("bert", nil)
		w.commit("bert", nil)
		f := w.found("bert")
		w.mem.Truncate("backups/user/bert/backup.json", 5)
		if _, _, err := f.SetAside(w.t.Context(), "test", repository.LockOptions{Owner: "test", Now: w.options().Lock.Now}, nil); err != nil {
			w.t.Fatal(err)
		}
	},
	"another one of this name began, and retention has shortened its log": func(w *world, lose func()) {
		lose()
		w.commit("bert", nil)
		w.commit("bert", nil)
		w.later(hour)
		w.retain("bert")
	},
	"another one of this name was erased": func(w *world, lose func()) {
		lose()
		w.commit("bert", nil)
		w.erase("bert")
	},
	"a copy got a hold": func(w *world, lose func()) {
		lose()
		w.holdCopy()
	},
	"its copy is not complete yet": func(w *world, lose func()) {
		f := faultstore.New(w.mem)
		f.Add(faultstore.Fault{Match: func(op, key string) bool { return op == "put" && strings.HasSuffix(key, "uses.ndjson.zst") }, Before: faultstore.Denied})
		if w.setAside("bert", f) == nil {
			w.t.Error("this test no longer covers its case")
		}
		lose()
	},
	"its copy is incomplete": func(w *world, lose func()) {
		f := faultstore.New(w.mem)
		f.Add(faultstore.Fault{Match: func(op, key string) bool { return op == "put" && strings.HasSuffix(key, "2.tar.zst") }, Before: faultstore.Denied})
		if w.setAside("bert", f) == nil {
			w.t.Error("this test no longer covers its case")
		}
		lose()
	},
	"its log began again": func(w *world, lose func()) {
		info := w.mem.Bytes("backups/user/bert/backup.json")
		lose()
		w.put("backups/user/bert/backup.json", info)
		w.commit("bert", nil)
	},
	"only leases are left": func(w *world, lose func()) {
		lose()
		w.put("backups/user/bert/lock.json", []byte("{}"))
	},
	"an older erasure": func(w *world, lose func()) {
		info, err := repository.ReadBackupInfo(w.t.Context(), w.mem, "user/bert")
		if err != nil {
			w.t.Fatal(err)
		}
		e := repository.Erasure{Version: 1, ID: repository.NewID(), Backup: "user/bert", Name: "bert", Kind: repository.KindUser, Since: w.now.Add(-30 * day), State: repository.ErasureDone,
			Cut: w.now.Add(-30 * day), Removed: w.now.Add(-30 * day), Done: w.now, IDs: []string{info.ID}, Copies: []string{"set-aside/user/bert/20270201T120000Z"}}
		if _, err := e.Put(w.t.Context(), w.mem, ""); err != nil {
			w.t.Fatal(err)
		}
		lose()
	},
}

// Nothing that happens to another backup hides that one is missing. Its packs stay, and it is complete when it is there again.
func TestNothingHidesMissingBackup(t *testing.T) {
	for name, happens := range whatHidesBert {
		t.Run(name, func(t *testing.T) {
			w, pack := missingBert(t)
			there := w.mem.Snapshot()
			happens(w, func() { w.lost("backups/user/bert/") })
			w.nights(5, true)
			if !w.has(pack) || w.condemned(pack) {
				t.Errorf("the pack exists: %v, condemned: %v", w.has(pack), w.condemned(pack))
			}
			loseAll(w, "backups/user/bert/")
			w.mem.Rollback(there, "backups/user/bert/", true)
			w.nights(5, false)
			w.check("bert")
		})
	}
}

// What has become of a backup is known, so that it is not missing. Another one is.
func TestKnownWhatBecameOfBackup(t *testing.T) {
	const info = "backups/user/bert/backup.json"
	for name, happens := range map[string]func(w *world){
		"set aside": func(w *world) { w.aside("bert") },
		"set aside, and a new one": func(w *world) {
			w.aside("bert")
			w.commit("bert", nil)
		},
		"set aside without backup.json": func(w *world) {
			w.mem.Lose(info)
			f := &repository.Found{Partition: repository.Config{Name: "p", Store: w.mem}, Path: "user/bert", Info: repository.BackupInfo{Kind: repository.KindUser, Name: "bert"}}
			if _, _, err := f.SetAside(w.t.Context(), "test", repository.LockOptions{Owner: "test", Now: w.options().Lock.Now}, nil); err != nil {
				w.t.Fatal(err)
			}
		},
		"set aside with a damaged backup.json": func(w *world) {
			f := w.found("bert")
			w.mem.Truncate(info, 5)
			if _, _, err := f.SetAside(w.t.Context(), "test", repository.LockOptions{Owner: "test", Now: w.options().Lock.Now}, nil); err != nil {
				w.t.Fatal(err)
			}
		},
		"damaged backup.json":  func(w *world) { w.mem.Truncate(info, 5) },
		"repaired backup.json": func(w *world) { w.mem.Lose(info); w.found("bert") },
		"erased":               func(w *world) { w.erase("bert") },
		"erased, and a new one": func(w *world) {
			w.erase("bert")
			w.commit("bert", nil)
		},
		"a copy of the bucket": func(w *world) {
			w.later(8 * day)
			for _, key := range w.mem.Keys("backups/") {
				w.put(key, append([]byte{}, w.mem.Bytes(key)...))
			}
		},
	} {
		for _, missing := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " ", missing), func(t *testing.T) {
				w, _ := missingBert(t)
				happens(w)
				w.commit("dave", nil)
				if missing {
					w.lost("backups/user/anne/")
				}
				w.nights(3, missing)
			})
		}
	}
}

// Each request of a pass fails in turn, while a backup is missing, and while another one was set aside: nothing is removed, and
// the next pass knows as much.
func TestEachRequestFailsWhileMissing(t *testing.T) {
	for _, missing := range []bool{false, true} {
		for how := range 2 {
			for n, more := 0, true; more; n += stride() {
				w, pack := missingBert(t)
				w.later(8 * day)
				w.condemn(pack)
				w.later(2 * day)
				w.aside("carl")
				if missing {
					w.lost("backups/user/bert/")
				}
				f := faultstore.New(w.mem)
				fault := faultstore.Fault{Skip: n, Count: 1, Before: faultstore.Lost}
				if how == 1 {
					fault = faultstore.Fault{Skip: n, Count: 1, After: faultstore.Lost}
				}
				f.Add(fault)
				w.store = f
				_, _ = w.tryCollect()
				more = f.Struck() > 0
				w.store = w.mem
				w.later(5 * hour)
				w.nights(2, missing)
				if missing && !w.has(pack) {
					t.Fatalf("request %d: the pack was removed", n)
				}
			}
		}
	}
}

// registerLines returns the register, decompressed.
func registerLines(w *world) []string {
	w.t.Helper()
	dec, err := zstd.NewReader(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer dec.Close()
	b, err := dec.DecodeAll(w.mem.Bytes(collection.RegisterKey), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// putRegister puts the register with these lines.
func putRegister(w *world, lines ...string) {
	w.t.Helper()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer enc.Close()
	w.put(collection.RegisterKey, enc.EncodeAll([]byte(strings.Join(lines, "\n")+"\n"), nil))
}

// The register has each backup, with the id and version of its backup.json (docs/format.md 7).
func TestRegister(t *testing.T) {
	w, _ := missingBert(t)
	lines := registerLines(w)
	if len(lines) != 4 || lines[0] != `{"version":1,"time":"2027-03-09T13:00:00Z","totals":"2027-03-09T13:00:00Z","backups":3}` {
		t.Fatalf("%q", lines)
	}
	info, err := repository.ReadBackupInfo(t.Context(), w.mem, "user/bert")
	if err != nil {
		t.Fatal(err)
	}
	at, err := w.mem.Stat(t.Context(), "backups/user/bert/backup.json")
	if err != nil {
		t.Fatal(err)
	}
	key := history.LogKey("user/bert", 2)
	newest, err := w.mem.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	h, err := w.found("bert").Log().Header(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf(`{"backup":"user/bert","id":%q,"info":{"etag":%q,"size":%d},"commit":2,"newest":{"etag":%q,"size":%d},"random":%q}`,
		info.ID, at.ETag, at.Size, newest.ETag, newest.Size, h.Random); lines[2] != want {
		t.Errorf("%s, want %s", lines[2], want)
	}
}

// A register that is lost, damaged or wrong blocks the passes, until a person removes the totals. That of a newer program ends
// the pass.
func TestRegisterIsLost(t *testing.T) {
	for name, spoil := range map[string]func(w *world, lines []string){
		"lost":                  func(w *world, _ []string) { w.mem.Lose(collection.RegisterKey) },
		"ends after its header": func(w *world, l []string) { putRegister(w, l[0]) },
		"empty":                 func(w *world, _ []string) { w.put(collection.RegisterKey, nil) },
		"truncated":             func(w *world, _ []string) { w.mem.Truncate(collection.RegisterKey, 50) },
		"flipped": func(w *world, _ []string) {
			w.mem.Flip(collection.RegisterKey, len(w.mem.Bytes(collection.RegisterKey))/2)
		},
		"out of order": func(w *world, l []string) { putRegister(w, l[0], l[2], l[1], l[3]) },
		"twice":        func(w *world, l []string) { putRegister(w, l[0], l[1], l[1], l[2]) },
		"no backup":    func(w *world, l []string) { putRegister(w, l[0], `{"backup":"","size":1}`) },
		"unknown key":  func(w *world, l []string) { putRegister(w, l[0], `{"backup":"user/anne","size":1,"more":2}`) },
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := missingBert(t)
			spoil(w, registerLines(w))
			w.nights(2, true)
			there := w.mem.Snapshot()
			w.mem.Lose(collection.ResultKey)
			w.nights(2, false)
			w.mem.Rollback(there, "", false)
			w.acceptMissing(collection.RegisterKey)
			w.later(day)
			w.nights(2, false)
			w.lost("backups/user/bert/")
			w.nights(2, true)
		})
	}
	w, _ := missingBert(t)
	putRegister(w, strings.Replace(registerLines(w)[0], `"version":1`, `"version":2,"more":3`, 1))
	if _, err := w.tryCollect(); !errors.Is(err, repository.ErrVersion) {
		t.Error(err)
	}
}

// asOlder makes the totals those of a program that puts no register.
func (w *world) asOlder() {
	w.t.Helper()
	var totals map[string]any
	if err := json.Unmarshal(w.mem.Bytes(collection.ResultKey), &totals); err != nil {
		w.t.Fatal(err)
	}
	delete(totals, "listed")
	b, err := json.Marshal(totals)
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(collection.ResultKey, b)
}

// The last pass was that of an older program, which has put no register: then numbers of backups are compared. If there is an
// older register, it counts, too.
func TestTotalsOfOlderProgram(t *testing.T) {
	for _, c := range []struct {
		register, hidden, newcomer, held bool
		lost                             string
		missing                          bool
	}{
		{lost: "dave", missing: true},
		{lost: "dave", newcomer: true, missing: true},
		{lost: "dave", held: true, newcomer: true, missing: true},
		{},
		{register: true, lost: "dave", missing: true},
		{register: true},
		{register: true, hidden: true, lost: "bert", missing: true},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			w, _ := missingBert(t)
			register := bytes.Clone(w.mem.Bytes(collection.RegisterKey))
			w.commit("dave", nil)
			w.later(hour)
			w.collect()
			w.asOlder()
			w.mem.Lose(collection.RegisterKey)
			if c.register {
				w.put(collection.RegisterKey, register)
			}
			w.later(hour)
			if c.hidden {
				w.commit("fred", nil)
				w.aside("fred")
			}
			if c.newcomer {
				w.commit("gina", nil)
			}
			if c.held {
				w.holdCopy()
			}
			if c.lost != "" {
				w.lost("backups/user/" + c.lost + "/")
			}
			w.nights(3, c.missing)
		})
	}
}

// A pass ends between the puts of the register and of the totals. The next one misses every backup of that register.
func TestRegisterWithoutTotals(t *testing.T) {
	w, _ := missingBert(t)
	w.commit("dave", nil)
	w.later(hour)
	f := faultstore.New(w.mem)
	f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "put" && key == collection.ResultKey }, Before: faultstore.Lost})
	w.store = f
	if _, err := w.tryCollect(); err == nil {
		t.Fatal("this test no longer covers its case")
	}
	w.store = w.mem
	w.commit("fred", nil)
	w.aside("fred")
	there := w.mem.Snapshot()
	w.lost("backups/user/dave/")
	w.nights(2, true)
	w.mem.Rollback(there, "backups/user/dave/", true)
	w.nights(2, false)
}

// A disk with thousands of backups is not mounted: a pass looks for the copies of some of them only.
func TestManyAreMissing(t *testing.T) {
	w := newWorld(t)
	for i := range 200 {
		w.commit(fmt.Sprintf("user%03d", i), nil)
	}
	w.later(hour)
	w.collect()
	w.lost("backups/user/user1")
	w.count.Reset()
	r, err := w.tryCollect()
	if err != nil || r.Blocking < collection.MostBlocked || r.Blocking > 3*collection.MostBlocked {
		t.Errorf("%d, %v", r.Blocking, err)
	}
	if n := w.count.Snapshot()["list"].Ops; n > 4*collection.MostBlocked {
		t.Errorf("%d lists", n)
	}
}
