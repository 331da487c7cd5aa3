package collection_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// aboutToGo returns a world in which the next pass removes a note.
func aboutToGo(t *testing.T) (w *world, gone string) {
	t.Helper()
	w = newWorld(t)
	gone = w.unneeded()
	w.untilEnding(gone)
	w.later(25 * hour)
	return w, gone
}

// An erasure that is due, or will be later, needs the note about a pack that it has on record.
func TestNoteOfErasureStays(t *testing.T) {
	w, gone := aboutToGo(t)
	start := w.mem.Snapshot()
	keep := func(packs iter.Seq2[collection.Pack, error], all bool) func(*collection.Options) {
		return func(o *collection.Options) {
			o.Keep = func(context.Context) (iter.Seq2[collection.Pack, error], bool, error) { return packs, all, nil }
		}
	}
	other := history.PackKey([32]byte{7})
	for name, c := range map[string]struct {
		change func(*collection.Options)
		stays  bool
	}{
		"none":          {func(*collection.Options) {}, false},
		"due":           {func(o *collection.Options) { o.Erase = packsOf(gone) }, true},
		"another due":   {func(o *collection.Options) { o.Erase = packsOf(other) }, false},
		"later":         {keep(packsOf(gone), false), true},
		"another later": {keep(packsOf(other), false), false},
		"unknown packs": {keep(nil, true), true},
	} {
		w.mem.Rollback(start, "", false)
		o := w.options()
		o.Cache = ""
		c.change(&o)
		r, err := collection.Collect(t.Context(), w.config(), o)
		if err != nil || r.Blocking > 0 || w.has(noteOf(gone)) != c.stays {
			t.Errorf("%s: note %v, want %v: %v, %v", name, w.has(noteOf(gone)), c.stays, err, r.Blocked)
		}
	}
}

// A pack on condemned.json needs its note: a request to remove the pack may be on its way.
func TestNoteOfCondemnedPackStays(t *testing.T) {
	w, gone := aboutToGo(t)
	list, info, err := history.ReadCondemned(t.Context(), w.mem)
	if err != nil {
		t.Fatal(err)
	}
	list.Packs = append(list.Packs, history.CondemnedPack{Key: gone, Since: w.now})
	b, err := list.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.mem.Put(t.Context(), history.CondemnedKey, bytes.NewReader(b), objstore.PutOptions{IfMatch: info.ETag}); err != nil {
		t.Fatal(err)
	}
	if w.collect(); !w.has(noteOf(gone)) {
		t.Error("removed, although its pack is on the list")
	}
}

// A list that has changed less than two hours ago may not show everything that is on its way: nothing is removed with it.
func TestRecentListRemovesNothing(t *testing.T) {
	w, gone := aboutToGo(t)
	w.put(history.RetiredKey, w.mem.Bytes(history.RetiredKey))
	w.later(hour)
	if r := w.collect(); r.Retired != 0 || !w.has(noteOf(gone)) {
		t.Errorf("%+v", r)
	}
	w.later(hour + time.Minute)
	if r := w.collect(); r.Retired != 1 || w.has(noteOf(gone)) {
		t.Errorf("%+v", r)
	}
}

// The put of the list takes so long that a copy trusts the note again when it is over: no removal is sent.
func TestSlowListRemovesNothing(t *testing.T) {
	w, gone := aboutToGo(t)
	s := faultstore.New(w.mem)
	s.Add(faultstore.Fault{Match: puts(history.RetiredKey), Call: func(string, string) { w.later(31 * time.Minute) }})
	w.store = s
	if r := w.reporting(); r.Retired != 0 || !w.has(noteOf(gone)) || w.retired()[gone].Removed.IsZero() {
		t.Errorf("%+v, note %v, %+v", r, w.has(noteOf(gone)), w.retired()[gone])
	}
}

// puts matches puts of an object.
func puts(is string) func(op, key string) bool {
	return func(op, key string) bool { return op == "put" && key == is }
}

// A note whose time is in the future, because a clock was wrong, is removed as any other. The list is not put every night.
func TestNoteOfWrongClock(t *testing.T) {
	w := newWorld(t)
	gone := w.unneeded()
	now := w.now
	w.now = now.AddDate(3, 0, 0)
	w.put(noteOf(gone), w.mem.Bytes(noteOf(gone)))
	w.now = now
	w.collect()
	listed := w.retired()[gone]
	w.later(25 * hour)
	if w.collect(); listed.Unused.IsZero() || w.retired()[gone] != listed {
		t.Errorf("%+v, and a night later %+v", listed, w.retired()[gone])
	}
	w.untilEnding(gone)
	w.later(25 * hour)
	if w.collect(); w.has(noteOf(gone)) {
		t.Error("not removed")
	}
}

// The list can be neither read nor put: the collection reports that, and does not fail.
func TestListDenied(t *testing.T) {
	w, gone := aboutToGo(t)
	for _, op := range []string{"get", "put"} {
		s := faultstore.New(w.mem)
		s.Add(faultstore.Fault{Match: func(is, key string) bool { return is == op && key == history.RetiredKey }, Before: faultstore.Denied})
		w.store = s
		r := w.reporting()
		if r.Keeping != 1 || r.Kept[0].Key != history.RetiredKey || !errors.Is(r.Kept[0].Err, objstore.ErrDenied) || !w.has(noteOf(gone)) {
			t.Errorf("%s: %+v", op, r.Kept)
		}
	}
}

// fake puts a note about a pack that never existed, and returns the key of the pack.
func (w *world) fake(id ...byte) string {
	w.t.Helper()
	var hash [32]byte
	copy(hash[:], id)
	key := history.PackKey(hash)
	m := history.Moved{Version: history.Version, Pack: key, Time: w.now, Entries: map[string]string{}}
	b, err := m.Append(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(noteOf(key), b)
	return key
}

// A full list takes no new line. It loses none, and is not put for nothing.
func TestFullList(t *testing.T) {
	w, gone := aboutToGo(t)
	w.collect()
	full := w.retired()
	if full[gone].Removed.IsZero() {
		t.Fatalf("%+v", full)
	}
	first := w.fake(0)
	w.later(25 * hour)
	o := w.options()
	o.MostList = 1
	before := w.mem.Snapshot()
	if _, err := collection.Collect(t.Context(), w.config(), o); err != nil {
		t.Fatal(err)
	}
	for _, key := range w.mem.Changed(before) {
		if strings.HasPrefix(key, history.RetiredKey) {
			t.Error("a full list was put")
		}
	}
	if is := w.retired(); fmt.Sprint(is) != fmt.Sprint(full) || !w.has(noteOf(first)) {
		t.Errorf("%+v", is)
	}
	w.collect() // with room
	if is := w.retired(); len(is) != 2 || is[gone] != full[gone] {
		t.Errorf("%+v", is)
	}
}

// A line about a removal ends after three years.
func TestRemovalEndsAfterYears(t *testing.T) {
	w, gone := aboutToGo(t)
	w.collect()
	w.fake(9) // without a note, no list is read
	w.later(2 * 365 * day)
	if w.collect(); w.retired()[gone].Removed.IsZero() {
		t.Error("forgotten after two years")
	}
	w.later(366 * day)
	if w.collect(); !w.retired()[gone].Removed.IsZero() {
		t.Error("still there after three years")
	}
}

// Removals that fail one after the other end the removals of that night.
func TestStuckNotes(t *testing.T) {
	w := newWorld(t)
	for n := range 10 {
		w.fake(byte(n))
	}
	w.later(hour)
	w.commit("anne", map[int]string{2: w.pack(2)})
	w.collect()
	w.later(31 * day)
	w.collect()
	w.later(25 * hour)
	s := faultstore.New(w.mem)
	s.Add(faultstore.Fault{Match: func(op, key string) bool { return op == "delete" && strings.HasPrefix(key, "moved/") }, Before: faultstore.Lost})
	w.store = s
	if r := w.reporting(); r.Retired != 0 || r.Keeping != 5 {
		t.Errorf("%d removed, %d reported", r.Retired, r.Keeping)
	}
}
