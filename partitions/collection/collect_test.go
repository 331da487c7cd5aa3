package collection_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// A pack that no moment needs is condemned when it is a week old, and removed a day later.
func TestUnusedPackIsRemoved(t *testing.T) {
	w := newWorld(t)
	p, q := w.pack(1, 2), w.pack(3)
	w.commit("anne", map[int]string{1: p, 2: p, 3: q})
	w.later(8 * day)
	if w.collect(); w.condemned(p) || w.condemned(q) {
		t.Fatal("a used pack is condemned")
	}
	w.commit("anne", nil, expunge(3))
	w.retain("anne")
	r := w.collect()
	if !w.condemned(q) || w.condemned(p) || r.Condemning.Packs != 1 {
		t.Fatalf("after retention: %+v", r)
	}
	w.later(23 * hour)
	if w.collect(); !w.has(q) {
		t.Fatal("the pack was removed within a day")
	}
	w.later(2 * hour)
	if r = w.collect(); w.has(q) || r.Removed.Packs != 1 {
		t.Fatalf("a day later: %+v", r)
	}
	if !w.condemned(q) {
		t.Error("a writer that has just seen the pack no longer finds it on the list")
	}
	if _, _, err := history.ReadMoved(t.Context(), w.mem, q); err != nil {
		t.Errorf("the note for daemons: %v", err)
	}
	w.later(3 * hour)
	if w.collect(); w.condemned(q) {
		t.Error("the list grows for ever")
	}
	w.check("anne")
	w.mem.Truncate(collection.ResultKey, 5)
	w.collect() // damaged totals do not stop it
	if last, err := collection.Last(t.Context(), w.mem); err != nil || last.All.Packs != 1 || last.Used.Packs != 1 {
		t.Errorf("totals %+v, %v", last, err)
	}
}

// A client may stage messages for days before a commit names them.
func TestYoungPackIsKept(t *testing.T) {
	w := newWorld(t)
	w.commit("anne", map[int]string{1: ""})
	p := w.pack(2)
	w.collectFor(6)
	if w.condemned(p) || !w.has(p) {
		t.Fatal("a pack of six days is condemned")
	}
	w.collectFor(4)
	if w.has(p) {
		t.Error("an orphan of ten days still exists")
	}
}

// A pack that is named after it was condemned is rewritten: a request to delete it may be on its
// way.
func TestCondemnedPackThatIsUsed(t *testing.T) {
	w := newWorld(t)
	p := w.pack(1, 2)
	w.commit("bert", map[int]string{3: ""})
	w.later(8 * day)
	w.collect()
	if !w.condemned(p) {
		t.Fatal("not condemned")
	}
	w.later(hour / 2) // the writer has read the list before
	w.commit("bert", map[int]string{1: p})
	w.later(23 * hour)
	if w.collect(); !w.has(p) {
		t.Fatal("the pack was removed within a day")
	}
	w.later(2 * hour)
	if r := w.collect(); r.Rewritten.Packs != 1 || r.Written.Packs != 1 {
		t.Fatalf("%+v", r)
	}
	w.later(21 * hour)
	r := w.collect()
	if w.has(p) || !w.condemned(p) || r.Replaced.Packs != 1 {
		t.Fatalf("exists %v, condemned %v: %+v", w.has(p), w.condemned(p), r)
	}
	if m, _, err := history.ReadMoved(t.Context(), w.mem, p); err != nil || len(m.Entries) != 1 {
		t.Errorf("the note %+v, %v", m, err)
	}
	w.later(3 * hour)
	if r = w.collect(); w.condemned(p) || r.All.Packs != 1 || r.Used.Packs != 1 {
		t.Errorf("later: %+v", r)
	}
	w.check("bert")
	w.commit("bert", nil, expunge(1))
	w.retain("bert")
	w.later(8 * day)
	w.collectFor(3)
	if packs := w.packs(); len(packs) > 0 {
		t.Errorf("nothing needs %v", packs)
	}
	// The index of a daemon that knows the first pack is led to none.
	if m, _, err := history.ReadMoved(t.Context(), w.mem, p); err != nil || len(m.Entries) != 0 {
		t.Errorf("the note %+v, %v", m, err)
	}
}

// Anything that cannot be read blocks the whole partition.
func TestUnreadableBlocks(t *testing.T) {
	for name, damage := range map[string]func(w *world){
		"damaged commit":           func(w *world) { w.mem.Flip(history.LogKey("user/bert", 1), 40) },
		"missing commit":           func(w *world) { w.mem.Lose(history.LogKey("user/bert", 1)) },
		"damaged checkpoint":       func(w *world) { w.mem.Flip(history.CheckpointKey("user/anne", 1), 40) },
		"missing log":              func(w *world) { w.mem.Lose(history.LogKey("user/anne", 1)) },
		"missing blocks":           func(w *world) { w.mem.Lose(w.mem.Keys("backups/user/anne/records/")[0]) },
		"damaged blocks":           func(w *world) { w.mem.Flip(w.mem.Keys("backups/user/anne/records/")[0], 40) },
		"unknown key":              func(w *world) { w.put("backups/user/bert/log/0000000000000003.next", nil) },
		"unknown key of no backup": func(w *world) { w.put("backups/notes.txt", nil) },
		"damaged set-aside": func(w *world) {
			w.put("set-aside/user/carl/20270301T000000Z/log/0000000000000001.tar.zst", []byte("damaged"))
		},
		"damaged note": func(w *world) {
			key, _ := history.MovedKey(w.packs()[0])
			w.put(key, []byte("{"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			used, dead, condemned := w.pack(1), w.pack(2), w.pack(3)
			w.commit("anne", map[int]string{1: used})
			w.checkpoint("anne")
			w.commit("bert", map[int]string{4: ""})
			w.commit("bert", map[int]string{5: ""})
			w.later(8 * day)
			w.collect()
			dead2 := w.pack(6)
			w.later(8 * day)
			damage(w)
			r, err := w.tryCollect()
			if err != nil {
				t.Fatal(err)
			}
			if r.Blocking == 0 || len(r.Blocked) == 0 {
				t.Fatalf("not blocked: %+v", r)
			}
			if !w.has(dead) || !w.has(condemned) || w.condemned(dead2) {
				t.Error("a blocked pass has condemned or removed a pack")
			}
		})
	}
}

// A commit that is missing does not block if a checkpoint has the places of everything before.
func TestCheckpointCoversMissingCommit(t *testing.T) {
	w := newWorld(t)
	p := w.pack(1)
	w.commit("anne", map[int]string{1: p})
	w.commit("anne", map[int]string{2: ""})
	w.checkpoint("anne")
	w.mem.Lose(history.LogKey("user/anne", 1))
	w.later(8 * day)
	if w.collect(); w.condemned(p) {
		t.Error("the checkpoint names the pack")
	}
}

// The clocks must agree, and have agreed with the last pass.
func TestDoubtfulClock(t *testing.T) {
	for name, c := range map[string]struct{ host, both time.Duration }{
		"host ahead": {16 * time.Minute, 0}, "host behind": {-16 * time.Minute, 0}, "both went back": {0, -day},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.commit("anne", map[int]string{9: ""})
			p := w.pack(1)
			w.later(8 * day)
			w.collect()
			w.later(2 * day)
			if name == "both went back" {
				w.collect() // removes p
				p = w.pack(2)
				w.later(-3 * day)
			}
			o := w.options()
			host := w.now.Add(c.host)
			o.Lock.Now = func() time.Time { return host }
			_, err := collection.Collect(t.Context(), w.config(), o)
			if !errors.Is(err, storeclock.ErrUncertain) {
				t.Errorf("error %v", err)
			}
			if name == "both went back" {
				w.clockWasWrong(p, err)
				return
			}
			if !w.has(p) {
				t.Error("a pack was removed")
			}
		})
	}
}

// clockWasWrong follows the advice for the case that the clocks were ahead at the last pass.
func (w *world) clockWasWrong(pack string, err error) {
	w.t.Helper()
	last := w.now.Add(3 * day).Format(time.RFC3339)
	if text := err.Error(); !strings.Contains(text, last) || !strings.Contains(text, "remove "+collection.ResultKey) {
		w.t.Errorf("%v: want the time %s, and the advice to remove %s", err, last, collection.ResultKey)
	}
	w.mem.Lose(collection.ResultKey)
	w.later(12 * day)
	if w.collect(); !w.has(pack) || !w.condemned(pack) {
		w.t.Error("the pack is not condemned")
	}
}

// A writer may have asked for a pack just before it was removed, and read the list just after.
func TestRemovedPackStaysListed(t *testing.T) {
	w := newWorld(t)
	w.commit("anne", map[int]string{9: ""})
	p := w.pack(1)
	w.later(8 * day)
	w.collect()
	w.later(25 * hour)
	if w.collect(); w.has(p) {
		t.Fatal("not removed")
	}
	w.later(hour)
	if w.collect(); !w.condemned(p) {
		t.Error("the pack has left the list an hour after its removal")
	}
}
