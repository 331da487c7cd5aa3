package collection_test

import (
	"testing"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// erase removes a backup, with the record of an erasure.
func (w *world) erase(user string) {
	w.t.Helper()
	f := w.found(user)
	info, err := repository.ReadBackupInfo(w.t.Context(), w.mem, f.Path)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, key := range w.mem.Keys(repository.BackupPrefix(f.Path)) {
		w.mem.Lose(key)
	}
	e := repository.Erasure{Version: 1, ID: repository.NewID(), Backup: f.Path, Name: user, Kind: repository.KindUser, Since: w.now,
		State: repository.ErasurePending, Cut: w.now, Removed: w.now, IDs: []string{info.ID}, Copies: []string{"set-aside/" + f.Path + "/20270301T120000Z"}}
	if _, err := e.Put(w.t.Context(), w.mem, ""); err != nil {
		w.t.Fatal(err)
	}
}

// A backup that was erased is not missing, and neither is the last one of a partition. One record
// explains one backup, once.
func TestErasedIsNotMissing(t *testing.T) {
	w := newWorld(t)
	p := w.pack(1)
	w.commit("anne", map[int]string{1: p})
	w.commit("bert", map[int]string{2: ""})
	w.commit("carl", map[int]string{3: ""})
	w.later(8 * day)
	w.collect()
	w.erase("anne")
	w.later(hour)
	w.collectFor(3)
	if w.has(p) {
		t.Error("the pack of a backup that was erased is still there")
	}
	there := w.mem.Snapshot()
	for _, key := range w.mem.Keys("backups/user/bert/") {
		w.mem.Lose(key)
	}
	if r, err := w.tryCollect(); err != nil || r.Blocking == 0 {
		t.Errorf("a backup is missing: %+v, %v", r, err)
	}
	w.mem.Rollback(there, "backups/", true)
	last := w.pack(9)
	w.later(8 * day)
	for _, key := range w.mem.Keys("backups/") {
		w.mem.Lose(key)
	}
	if r, err := w.tryCollect(); err != nil || r.Blocking == 0 {
		t.Errorf("all backups are missing: %+v, %v", r, err)
	}
	w.mem.Rollback(there, "backups/", true)
	w.erase("bert")
	w.erase("carl")
	w.collectFor(3)
	if w.has(last) {
		t.Error("a pack is left after the last backup was erased")
	}
}

// Messages were erased from a young backup, so that no object of it is older than the last collection. It is not missing; another
// one is.
func TestErasedMessagesAreNotMissing(t *testing.T) {
	for i := range 4 {
		w, missing := newWorld(t), i%2 == 1
		w.older = i > 1
		w.commit("anne", map[int]string{1: ""})
		w.commit("bert", map[int]string{2: ""})
		w.later(8 * day)
		w.collect()
		w.later(hour)
		f := w.found("anne")
		e := repository.NewErasureOfMessages(repository.NewID(), f.Name(), []repository.ErasedMessage{{GUID: message(1).GUID}})
		e.Since, e.State, e.Commit, e.Erased = w.now, repository.ErasurePending, 2, w.now
		if _, err := e.Put(t.Context(), w.mem, ""); err != nil {
			t.Fatal(err)
		}
		for _, key := range w.mem.Keys(repository.BackupPrefix(f.Path)) {
			w.put(key, w.mem.Bytes(key))
		}
		for _, key := range w.mem.Keys("backups/user/bert/") {
			if missing {
				w.mem.Lose(key)
			}
		}
		w.commit("carl", map[int]string{3: ""})
		if r, err := w.tryCollect(); err != nil || (r.Blocking > 0) != missing {
			t.Errorf("missing %t: %+v, %v", missing, r, err)
		}
	}
}
