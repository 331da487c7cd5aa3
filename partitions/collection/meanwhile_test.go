package collection_test

import (
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// whileCounted runs a pass, and calls do before its request for an object of bert, after bert was listed.
func (w *world) whileCounted(op, name string, do func()) (*collection.Result, error) {
	w.t.Helper()
	f, done := faultstore.New(w.store), false
	f.Add(faultstore.Fault{Count: 1, Match: func(o, key string) bool { return o == op && key == "backups/user/bert/"+name }, Call: func(string, string) {
		do()
		done = true
	}})
	was := w.store
	w.store = f
	defer func() { w.store = was }()
	r, err := w.tryCollect()
	if !done {
		w.t.Errorf("this test no longer covers its case: no %s of %s", op, name)
	}
	return r, err
}

// lose removes everything of a backup.
func (w *world) lose(user string) {
	w.t.Helper()
	for _, key := range w.mem.Keys("backups/user/" + user + "/") {
		if err := w.mem.Delete(w.t.Context(), key); err != nil {
			w.t.Fatal(err)
		}
	}
}

// A backup is lost while a pass counts it, and perhaps begins again. The pass condemns nothing, and the next ones miss it.
func TestLostWhileCounted(t *testing.T) {
	for name, then := range map[string]func(w *world, info []byte){
		"nothing": func(*world, []byte) {},
		"another one of this name began": func(w *world, _ []byte) {
			for range 3 {
				w.commit("bert", nil)
			}
		},
		"its log began again": func(w *world, info []byte) {
			w.put("backups/user/bert/backup.json", info)
			for range 3 {
				w.commit("bert", nil)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, pack := missingBert(t)
			w.commit("bert", map[int]string{4: ""}) // so that the pass reads something
			r, err := w.whileCounted("get", "log/0000000000000003.tar.zst", func() {
				info := w.mem.Bytes("backups/user/bert/backup.json")
				w.lose("bert")
				then(w, info)
			})
			if err != nil || r.Blocking == 0 {
				t.Errorf("blocked by %d: %v, want the backup that has changed", r.Blocking, err)
			}
			w.later(25 * hour)
			w.nights(2, true)
			if w.mem.Bytes(pack) == nil {
				t.Error("a pack of the lost backup was removed")
			}
		})
	}
}

// A backup is erased while a pass counts it, at its first request for it or a later one. No later pass misses it.
func TestErasedWhileCounted(t *testing.T) {
	for _, name := range []string{"log/0000000000000001.tar.zst", "log/0000000000000002.tar.zst", "backup.json"} {
		t.Run(strings.ReplaceAll(name, "/", " "), func(t *testing.T) {
			w := newWorld(t)
			pack := w.pack(2)
			w.commit("anne", map[int]string{1: ""})
			w.commit("bert", map[int]string{3: ""})
			w.commit("bert", map[int]string{2: pack})
			w.later(8 * day)
			if _, err := w.whileCounted("get", name, func() { w.erase("bert") }); err != nil {
				t.Fatal(err)
			}
			w.later(25 * hour)
			w.nights(3, false)
		})
	}
}

// The erasure of a backup whose backup.json was lost does not explain that the next one of this name is missing. A pass that
// was blocked has found that one.
func TestErasedBeforeItWasFound(t *testing.T) {
	w, _ := missingBert(t)
	w.lose("bert")
	e := repository.Erasure{Version: 1, ID: repository.NewID(), Backup: "user/bert", Name: "bert", Kind: repository.KindUser, Since: w.now,
		State: repository.ErasureDone, Cut: w.now, Removed: w.now, Done: w.now, Copies: []string{"set-aside/user/bert/20270301T120000Z"}}
	if _, err := e.Put(t.Context(), w.mem, ""); err != nil {
		t.Fatal(err)
	}
	w.later(hour)
	w.commit("bert", nil)
	unknown := "backups/user/anne/unknown"
	w.put(unknown, nil)
	w.nights(1, true)
	w.lose("bert")
	w.mem.Lose(unknown)
	w.nights(2, true)
}

// The commit that a pass has found last is damaged later, when the log has gone on, and a checkpoint has its state. The backup
// is the same one.
func TestNewestCommitDamagedLater(t *testing.T) {
	for name, damage := range map[string]func(w *world, key, other string){
		"truncated": func(w *world, key, _ string) { w.mem.Truncate(key, 20) },
		"swapped":   func(w *world, key, other string) { w.mem.Swap(key, other) },
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := missingBert(t)
			w.commit("bert", map[int]string{4: ""})
			w.checkpoint("bert")
			w.commit("bert", nil)
			damage(w, "backups/user/bert/log/0000000000000002.tar.zst", "backups/user/bert/log/0000000000000001.tar.zst")
			w.nights(2, false)
		})
	}
}
