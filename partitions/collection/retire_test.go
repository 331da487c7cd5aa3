package collection_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// retired returns the lines of the list of notes that nothing needs, by pack.
func (w *world) retired() map[string]history.RetiredNote {
	w.t.Helper()
	list, err := history.OpenRetired(w.t.Context(), w.mem)
	if err != nil {
		w.t.Fatal(err)
	}
	defer list.Close()
	lines := map[string]history.RetiredNote{}
	for n, err := range list.Notes() {
		if err != nil {
			w.t.Fatal(err)
		}
		lines[history.PackKey(n.Pack)] = n
	}
	return lines
}

func noteOf(pack string) string {
	key, _ := history.MovedKey(pack)
	return key
}

// unneeded returns a pack that was removed because nothing named it, with its note.
func (w *world) unneeded() (gone string) {
	w.t.Helper()
	gone = w.pack(1)
	w.commit("anne", map[int]string{2: w.pack(2)})
	w.later(8 * day)
	w.collectFor(3)
	if w.has(gone) || !w.has(noteOf(gone)) {
		w.t.Fatal("not removed, or without a note")
	}
	return gone
}

// untilEnding runs passes until the note about a pack ends. A later pass that begins a day after that removes it.
func (w *world) untilEnding(pack string) {
	w.t.Helper()
	w.collect()
	w.later(31 * day)
	if w.collect(); w.retired()[pack].Ending.IsZero() {
		w.t.Fatalf("the note does not end: %+v", w.retired()[pack])
	}
}

// reporting is collect, and accepts objects that were kept.
func (w *world) reporting() *collection.Result {
	w.t.Helper()
	r, err := w.tryCollect()
	if err != nil || r.Blocking > 0 {
		w.t.Fatal(err, r.Blocked)
	}
	return r
}

// A note goes when nothing has named its pack for 30 days: first it is listed, then it ends, and a day later it is removed.
func TestNoteIsRetired(t *testing.T) {
	w := newWorld(t)
	gone := w.unneeded()
	w.collect()
	if n := w.retired()[gone]; n.Unused.IsZero() || !n.Ending.IsZero() {
		t.Fatalf("%+v", n)
	}
	w.later(29 * day)
	if r := w.collect(); r.Retiring != 0 || r.Notes != 1 {
		t.Fatalf("%+v", r)
	}
	w.later(2 * day)
	if r := w.collect(); r.Retiring != 1 || r.Retired != 0 || !w.has(noteOf(gone)) {
		t.Fatalf("%+v", r)
	}
	w.later(23 * hour)
	if r := w.collect(); r.Retired != 0 {
		t.Fatalf("%+v", r)
	}
	w.later(2 * hour)
	before := w.now
	if r := w.collect(); r.Retired != 1 || w.has(noteOf(gone)) {
		t.Fatalf("%+v", r)
	}
	if n := w.retired()[gone]; !n.Removed.Equal(before) || !n.Ending.IsZero() || !n.Unused.IsZero() {
		t.Errorf("%+v", n)
	}
	w.later(300 * day)
	if r := w.collect(); r.Notes+r.Retired+r.Retiring != 0 || len(w.retired()) != 1 {
		t.Errorf("%+v, %v", r, w.retired())
	}
	w.check("anne")
}

// needs are what needs a note: each makes the need, and returns what ends it.
var needs = map[string]func(w *world, gone string, bytes []byte) (end func()){
	"a commit": func(w *world, gone string, _ []byte) func() {
		w.noteMoved(gone, w.pack(1), 1)
		w.commit("bert", map[int]string{1: gone})
		return func() { w.commit("bert", nil, expunge(1)); w.retain("bert") }
	},
	"a checkpoint": func(w *world, gone string, _ []byte) func() {
		w.noteMoved(gone, w.pack(1), 1)
		w.commit("bert", map[int]string{1: gone})
		w.retain("bert")
		return func() { w.commit("bert", nil, expunge(1)); w.retain("bert"); w.dropBlocks("bert") }
	},
	"a copy that was set aside": func(w *world, gone string, _ []byte) func() {
		w.noteMoved(gone, w.pack(1), 1)
		w.commit("bert", map[int]string{1: gone})
		if _, _, err := w.found("bert").SetAside(w.t.Context(), "test", w.options().Lock, nil); err != nil {
			w.t.Fatal(err)
		}
		return func() {
			for _, key := range w.mem.Keys("set-aside/") {
				w.mem.Lose(key)
			}
			w.mem.Lose(collection.ResultKey) // which counts the copy
		}
	},
	"a note of a used pack": func(w *world, gone string, _ []byte) func() {
		other := history.PackKey([32]byte{1})
		w.noteMoved(other, gone, 1)
		w.noteMoved(gone, w.pack(1), 1)
		return func() {}
	},
	"its pack": func(w *world, gone string, bytes []byte) func() {
		w.put(gone, bytes)
		return func() { w.later(9 * day) }
	},
}

// dropBlocks removes the objects in records/ that no checkpoint names, as retention does.
func (w *world) dropBlocks(user string) {
	w.t.Helper()
	path := w.found(user).Path
	named := map[string]bool{}
	for _, key := range w.mem.Keys(history.CheckpointPrefix(path)) {
		objects, err := history.PlaceObjects(w.t.Context(), w.mem, key)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, o := range objects {
			named[o] = true
		}
	}
	for _, key := range w.mem.Keys(history.RecordsPrefix(path)) {
		for p, err := range history.ObjectPlaces(w.t.Context(), w.mem, key) {
			if err != nil {
				w.t.Fatal(err)
			}
			if !named[key] && p.Object != "" {
				w.mem.Lose(key)
				break
			}
		}
	}
}

// A note stays while anything needs it. If something has needed it meanwhile, it waits from the start.
func TestNeededNoteStays(t *testing.T) {
	for name, need := range needs {
		for _, ending := range []bool{false, true} {
			if !ending && name != "a commit" {
				continue
			}
			t.Run(fmt.Sprintf("%s, ending %v", name, ending), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				gone := w.pack(1)
				b := w.mem.Bytes(gone)
				w.commit("anne", map[int]string{2: w.pack(2)})
				w.later(8 * day)
				w.collectFor(3)
				if w.collect(); ending {
					w.untilEnding(gone)
				}
				end := need(w, gone, b)
				if name == "a note of a used pack" {
					w.commit("bert", map[int]string{1: history.PackKey([32]byte{1})})
					end = func() { w.commit("bert", nil, expunge(1)); w.retain("bert"); w.dropBlocks("bert") }
				}
				for range 3 {
					w.later(25 * hour)
					w.collect()
					if n := w.retired()[gone]; !w.has(noteOf(gone)) || !n.Ending.IsZero() || !n.Unused.IsZero() {
						t.Fatalf("note %v, %+v", w.has(noteOf(gone)), n)
					}
				}
				end()
				w.collectFor(4)
				w.later(8 * day)
				w.collectFor(4) // no pack is left, so that the note does not change any more
				w.later(14 * day)
				if w.collect(); !w.has(noteOf(gone)) {
					t.Fatal("removed after 30 days")
				}
				w.later(17 * day)
				w.collectFor(2)
				if w.collect(); w.has(noteOf(gone)) {
					t.Errorf("not removed after 50 days: %+v", w.retired()[gone])
				}
				w.check("anne")
			})
		}
	}
}

// Each request of the passes that retire a note fails in turn, or loses its answer. A later night removes the note, and
// the list shows that before.
func TestRetireWithFaults(t *testing.T) {
	w := newWorld(t)
	gone := w.unneeded()
	w.untilEnding(gone)
	w.later(25 * hour)
	start, at := w.mem.Snapshot(), w.now
	for _, lost := range []bool{false, true} {
		for n, struck := rand.IntN(2), true; struck; n += 2 {
			w.mem.Rollback(start, "", false)
			w.now, w.cache, struck = at, "", false
			s := faultstore.New(w.mem)
			f := faultstore.Fault{Match: aboutNotes, Skip: n, Count: 1, Before: faultstore.Lost, Call: func(string, string) { struck = true }}
			if lost {
				f.Before, f.After = nil, faultstore.Lost
			}
			s.Add(f)
			s.Add(faultstore.Fault{Match: removes(gone), Call: func(string, string) {
				if w.retired()[gone].Removed.IsZero() {
					t.Errorf("request %d: removed before the list shows it", n)
				}
			}})
			part := w.config()
			part.Store = s
			_, _ = collection.Collect(t.Context(), part, w.options()) // may fail
			for range 3 {
				w.later(25 * hour)
				w.collect()
			}
			if w.has(noteOf(gone)) || w.retired()[gone].Removed.IsZero() {
				t.Fatalf("lost %v, request %d: note %v, %+v", lost, n, w.has(noteOf(gone)), w.retired()[gone])
			}
			if !struck && n < 6 {
				t.Errorf("only %d requests", n)
			}
		}
	}
	w.check("anne")
}

// aboutNotes matches requests that decide about notes.
func aboutNotes(_, key string) bool {
	return strings.HasPrefix(key, "moved/") || key == history.RetiredKey || key == collection.ResultKey
}

// removes matches the removal of the note about a pack.
func removes(pack string) func(op, key string) bool {
	return func(op, key string) bool { return op == "delete" && key == noteOf(pack) }
}

// A request to remove a note arrives up to two hours late. Until then, no collection forgets it.
func TestLateRemovalOfNote(t *testing.T) {
	w := newWorld(t)
	gone := w.unneeded()
	w.untilEnding(gone)
	w.later(25 * hour)
	s := faultstore.New(w.mem)
	s.Add(faultstore.Fault{Match: removes(gone), Before: faultstore.Lost})
	w.store = s
	if r := w.reporting(); r.Retired != 0 || r.Keeping != 1 {
		t.Fatalf("%+v", r)
	}
	w.store = w.mem
	began := w.now
	w.noteMoved(gone, w.pack(1), 1) // a copy puts it again
	w.commit("bert", map[int]string{1: gone})
	for range 3 {
		w.later(time.Hour / 2)
		w.collect()
		if n := w.retired()[gone]; !n.Removed.Equal(began) {
			t.Fatalf("%s later: %+v", w.now.Sub(began), n)
		}
	}
	w.mem.Lose(noteOf(gone)) // the request arrives
	w.later(hour)
	w.collect()
	if n := w.retired()[gone]; n.Removed.IsZero() {
		t.Error("the list does not show the removal any more")
	}
}

// A note whose removal had no effect ends again: a copy may rely on it since then.
func TestRemovalWithoutEffect(t *testing.T) {
	w := newWorld(t)
	gone := w.unneeded()
	w.untilEnding(gone)
	w.later(25 * hour)
	s := faultstore.New(w.mem)
	s.Add(faultstore.Fault{Match: removes(gone), Before: faultstore.Lost})
	w.store = s
	w.reporting()
	w.store = w.mem
	w.later(25 * hour)
	w.collect()
	if n := w.retired()[gone]; n.Ending.IsZero() || !w.has(noteOf(gone)) {
		t.Fatalf("%+v", n)
	}
	w.commit("bert", map[int]string{1: gone}) // a copy that has found the note in between
	w.later(25 * hour)
	w.collect()
	if n := w.retired()[gone]; !n.Ending.IsZero() || !w.has(noteOf(gone)) {
		t.Fatalf("%+v", n)
	}
}

// The right to remove notes may be missing: the pass reports it, and everything else continues.
func TestNoRightToRemoveNotes(t *testing.T) {
	w := newWorld(t)
	gone := w.unneeded()
	w.untilEnding(gone)
	s := faultstore.New(w.mem)
	s.Add(faultstore.Fault{Match: removes(gone), Before: faultstore.Denied})
	w.store = s
	reported := 0
	for range 6 {
		w.later(25 * hour)
		r := w.reporting()
		if reported += r.Keeping; r.Keeping > 0 && !errors.Is(r.Kept[0].Err, objstore.ErrDenied) {
			t.Error(r.Kept)
		}
	}
	if reported != 3 || !w.has(noteOf(gone)) {
		t.Errorf("reported %d times", reported)
	}
	w.store = w.mem
	w.collectFor(3)
	if w.has(noteOf(gone)) {
		t.Error("not removed when the right is there")
	}
}

// A damaged list stops only the removal of notes.
func TestDamagedRetiredList(t *testing.T) {
	w := newWorld(t)
	gone := w.unneeded()
	w.untilEnding(gone)
	b := slices.Clone(w.mem.Bytes(history.RetiredKey))
	for _, damage := range []func(b []byte) []byte{
		func([]byte) []byte { return nil },
		func(b []byte) []byte { return b[:len(b)-3] },
		func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
		func([]byte) []byte { return []byte("damaged") },
	} {
		w.put(history.RetiredKey, damage(slices.Clone(b)))
		w.later(25 * hour)
		r := w.reporting()
		if r.Keeping != 1 || r.Kept[0].Key != history.RetiredKey || !w.has(noteOf(gone)) {
			t.Errorf("%+v, note %v", r.Kept, w.has(noteOf(gone)))
		}
	}
}

// A pass removes a limited number of notes. The others follow.
func TestNotesOfANight(t *testing.T) {
	w := newWorld(t)
	for n := range 25 {
		w.pack(100 + n)
	}
	w.unneeded()
	if notes := len(w.mem.Keys("moved/")); notes != 26 {
		t.Fatalf("%d notes", notes)
	}
	o := w.options()
	o.MostNotes = 10
	w.collect()
	w.later(31 * day)
	var removed []int
	for range 6 {
		r, err := collection.Collect(t.Context(), w.config(), o)
		if err != nil {
			t.Fatal(err)
		}
		removed = append(removed, r.Retired)
		w.later(25 * hour)
	}
	if !slices.Equal(removed, []int{0, 10, 10, 6, 0, 0}) || len(w.mem.Keys("moved/")) != 0 {
		t.Errorf("removed %v", removed)
	}
}

// A dry run counts the notes, and changes nothing.
func TestDryRunOfNotes(t *testing.T) {
	w := newWorld(t)
	w.untilEnding(w.unneeded())
	w.later(25 * hour)
	before := w.mem.Snapshot()
	o := w.options()
	o.DryRun = true
	r, err := collection.Collect(t.Context(), w.config(), o)
	if err != nil || r.Retired != 1 {
		t.Errorf("%v, %+v", err, r)
	}
	if changed := w.mem.Changed(before); len(changed) > 0 {
		t.Errorf("changed: %v", changed)
	}
}

// Notes that wait add one request: for the list, which is put only in nights that change it. A removal is one request.
func TestRetireRequests(t *testing.T) {
	w := newWorld(t)
	for n := range 1000 {
		key := history.PackKey([32]byte{byte(n), byte(n >> 8)})
		m := history.Moved{Version: history.Version, Pack: key, Time: w.now, Entries: map[string]string{}}
		b, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		w.put(noteOf(key), b)
	}
	w.later(hour)
	w.commit("anne", map[int]string{2: w.pack(2)})
	w.collect()
	w.collect()
	requests := func() map[string]int {
		w.count.Reset()
		w.collect()
		ops := map[string]int{}
		for op, n := range w.count.Snapshot() {
			ops[op] = n.Ops
		}
		return ops
	}
	idle := requests()
	w.later(31 * day)
	w.collect()
	w.later(25 * hour)
	night := requests()
	t.Logf("a night without a change: %v; with 1000 removals: %v; the list has %d bytes", idle, night, len(w.mem.Bytes(history.RetiredKey)))
	if left := w.mem.Keys("moved/"); len(left) > 0 {
		t.Errorf("%d notes are left", len(left))
	}
	for op, most := range map[string]int{"get": 0, "stat": 0, "list": 0, "put": 1, "delete": 1000} {
		if n := night[op] - idle[op]; n > most {
			t.Errorf("%d more: %s", n, op)
		}
	}
	if before := w.retiredReads(); before > 1 {
		t.Errorf("the list is read %d times", before)
	}
}

// retiredReads returns how often a pass reads the list.
func (w *world) retiredReads() (n int) {
	w.mem.SetFaults(func(op, key string) error {
		if strings.HasPrefix(key, history.RetiredKey) {
			n++
		}
		return nil
	}, nil)
	defer w.mem.SetFaults(nil, nil)
	w.collect()
	return n
}
