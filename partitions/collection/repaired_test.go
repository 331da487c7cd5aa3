package collection_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/verify"
)

// withInfo returns the backup of a user, as backup.json describes it.
func (w *world) withInfo(user string) *repository.Found {
	w.t.Helper()
	f := w.found(user)
	info, err := f.ReadInfo(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	f.Info = *info
	return f
}

// repair repairs the backup of a user, through the store s.
func (w *world) repair(s objstore.Store, user string) verify.RepairResult {
	w.t.Helper()
	f := w.withInfo(user)
	f.Partition.Store = s
	o := verify.RepairOptions{Lock: w.options().Lock, Others: []repository.Config{{Name: "p", Store: s}},
		Problem: func(p verify.Problem) { w.t.Logf("problem: %v", p) }, Report: func(c verify.Change) { w.t.Logf("change: %v", c) }}
	r, err := verify.Repair(w.t.Context(), f, o)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// The bytes of a condemned pack are also stored under the name of another pack. A repair of the other
// one begins after the pass has counted who needs the condemned pack, so it must lead nowhere
// else than to a new pack.
func TestRepairNeverLeadsToCondemned(t *testing.T) {
	for name, when := range map[string]func(op, key, condemned string) bool{
		"rewritten": func(op, key, condemned string) bool { return op == "get" && key == condemned },
		"removed":   func(op, key, _ string) bool { return op == "put" && strings.HasPrefix(key, "moved/") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			other, condemned := w.pack(1, 2), w.pack(1, 3)
			w.commit("anne", map[int]string{1: other, 2: other})
			if name == "rewritten" {
				w.commit("bert", map[int]string{3: condemned})
			}
			w.condemn(condemned)
			w.later(25 * hour)
			w.put(other, w.mem.Bytes(condemned))
			f := faultstore.New(w.mem)
			w.store = f
			ran := false
			f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return when(op, key, condemned) }, Call: func(string, string) {
				ran = true
				w.repair(w.mem, "anne")
			}})
			w.collect()
			w.nextNight()
			if !ran || w.has(condemned) {
				t.Errorf("repaired during the pass: %v, pack exists: %v", ran, w.has(condemned))
			}
			if err := history.CheckChunk(t.Context(), history.NewObjects(w.mem, 0), place(1, other)); err != nil {
				t.Errorf("message 1 could be read before: %v", err)
			}
			if name == "rewritten" {
				w.check("bert")
			}
		})
	}
}

// A note leads to a damaged pack. A repair drops the entry that cannot be read from the note, so that the new
// pack can be rewritten later. The note still says that an entry was damaged.
func TestRepairDropsDamagedEntry(t *testing.T) {
	w := newWorld(t)
	former, bad := w.pack(1, 2), w.pack(2, 3)
	w.noteMoved(former, bad, 2)
	w.commit("anne", map[int]string{2: former, 3: bad})
	w.mem.Lose(former)
	other := w.pack(1)
	w.put(bad, w.mem.Bytes(other))
	w.mem.Lose(other)
	w.repair(w.mem, "anne")
	m, _, err := history.ReadMoved(t.Context(), w.mem, former)
	if err != nil || len(m.Entries) > 0 || m.NothingLost() {
		t.Errorf("%+v, %v", m, err)
	}
	w.commitPlace("anne", place(2, w.pack(2))) // the source has sent it again
	packs := w.packs()
	w.condemn(packs...)
	w.later(25 * hour)
	if r := w.collect(); r.Keeping > 0 {
		t.Errorf("%v", r.Kept)
	}
}

// A note of a repair lacks an entry that was damaged. When nothing needs its other entries any more, it
// still does not say that nothing was lost: a daemon must heal that message.
func TestNoteRemembersDamage(t *testing.T) {
	w := newWorld(t)
	former, mended := w.pack(1, 2), w.pack(1)
	w.commit("anne", map[int]string{2: former})
	w.noteMoved(former, mended, 1)
	w.mem.Lose(former)
	w.condemn(mended)
	w.later(25 * hour)
	w.collect()
	if w.nextNight(); w.has(mended) {
		t.Fatal("the pack was not removed")
	}
	m, info, err := history.ReadMoved(t.Context(), w.mem, former)
	if err != nil || len(m.Entries) > 0 || m.NothingLost() {
		t.Errorf("%+v, %v", m, err)
	}
	if info.Size > 200 {
		t.Errorf("%d bytes: a pass takes it for a note with entries", info.Size)
	}
}

// A damaged note about a pack that nobody names does not stop collection. It does once somebody names
// that pack.
func TestDamagedNoteOfOthers(t *testing.T) {
	for name, named := range map[string]bool{"unused": false, "named between the counts": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			key, _ := shared(w)
			other, now := w.pack(70, 71), w.pack(70)
			w.noteMoved(other, now, 70)
			w.mem.Lose(other)
			note, _ := history.MovedKey(other)
			w.mem.Flip(note, 3)
			f := faultstore.New(w.mem)
			w.store = f
			if named {
				f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "list" && key == "packs/" }, Call: func(string, string) {
					w.commit("dave", map[int]string{70: other})
				}})
			}
			r, err := w.tryCollect()
			if err != nil {
				t.Fatal(err)
			}
			if (r.Rewritten.Packs == 0) != named || (r.Blocking > 0) != named || r.Keeping == 0 || r.Kept[0].Key != note {
				t.Errorf("%+v", r)
			}
			if !named {
				if r := w.nextNight(); w.has(key) || r.Keeping == 0 {
					t.Errorf("exists %v: %+v", w.has(key), r)
				}
				w.later(3 * hour)
				w.collect()
				for _, u := range []string{"anne", "bert", "carl"} {
					w.check(u)
				}
			}
		})
	}
}

// The note about a removed pack is damaged. A repair of one backup makes it again, for all that name the
// pack: nothing is lost, and collection continues.
func TestRepairMakesNoteAgain(t *testing.T) {
	w := newWorld(t)
	key, former := shared(w)
	w.commit("dave", map[int]string{6: former})
	note, _ := history.MovedKey(former)
	w.mem.Flip(note, 3)
	if r, err := w.tryCollect(); err != nil || r.Blocking == 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if r := w.repair(w.mem, "carl"); r.Outcomes[verify.Waits]+r.Outcomes[verify.LostHere]+r.Outcomes[verify.Unchanged] > 0 {
		t.Errorf("%+v", r)
	}
	w.check("carl")
	w.check("dave")
	w.later(25 * hour)
	w.collect()
	w.nextNight()
	if w.has(key) || w.note(former) != 2 {
		t.Errorf("pack exists: %v; %d entries in the note", w.has(key), w.note(former))
	}
	for _, u := range []string{"anne", "bert", "carl", "dave"} {
		w.check(u)
	}
}

// Only a moment that retention keeps needs a damaged pack, or a backup that was set aside. A repair of any
// backup replaces the pack, so that collection does not report it for ever.
func TestRepairReplacesKeptPack(t *testing.T) {
	for name, need := range map[string]func(w *world, key string){
		"kept moment": func(w *world, key string) {
			w.commit("anne", map[int]string{2: key})
			w.checkpoint("anne")
			w.commit("anne", nil, expunge(2))
			w.later(time.Minute)
			w.commit("anne", nil, &history.PruneEvent{Before: w.now.Add(time.Second)})
			n := w.checkpoint("anne")
			w.commit("anne", nil, &history.RetainedEvent{From: 1, To: n})
			for k := uint64(1); k <= n; k++ {
				w.mem.Lose(history.LogKey("user/anne", k))
			}
		},
		"set aside": func(w *world, key string) {
			w.commit("bert", map[int]string{2: key})
			for _, k := range w.mem.Keys("backups/user/bert/") {
				w.put("set-aside/user/bert/20270301T120000Z/"+strings.TrimPrefix(k, "backups/user/bert/"), w.mem.Bytes(k))
				w.mem.Lose(k)
			}
			w.commit("anne", nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			key := w.pack(2)
			need(w, key)
			w.mem.Flip(key, 30)
			w.condemn(key)
			if w.repair(w.mem, "anne"); !w.has(key) {
				t.Fatal("verify reads packs that collection may still rewrite")
			}
			w.later(2*day + hour)
			if r := w.collect(); r.Keeping != 1 || r.Kept[0].Key != key {
				t.Fatalf("%+v", r)
			}
			if r := w.repair(w.mem, "anne"); w.has(key) || r.Left.Damaged > 0 {
				t.Errorf("exists %v: %+v", w.has(key), r)
			}
			if r := w.collect(); r.Keeping > 0 {
				t.Errorf("%v", r.Kept)
			}
		})
	}
}

// A pack that was rewritten lately is damaged. It is about to be removed, so verify does not read it.
func TestRewrittenPackIsNotStuck(t *testing.T) {
	w := newWorld(t)
	key := w.pack(1, 2, 3)
	w.commit("anne", map[int]string{1: key})
	w.condemn(key)
	w.later(2*day - hour)
	w.collect()
	w.mem.Flip(key, 30)
	w.later(2 * hour)
	w.commit("bert", nil)
	if w.repair(w.mem, "bert"); !w.has(key) {
		t.Error("verify has repaired a pack in the night after its rewrite")
	}
	w.later(2 * day)
	if w.repair(w.mem, "bert"); w.has(key) {
		t.Error("nobody has removed it for two days, and verify does not find the damage")
	}
	w.check("anne")
}
