package collection_test

import (
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// A restore has planned the messages of a moment when retention removes it. The same compact rewrites
// a pack, minutes later: the bodies of that moment stay for a day.
func TestReaderOfRemovedMoment(t *testing.T) {
	w := newWorld(t)
	key := w.pack(1, 2, 3)
	w.commit("anne", map[int]string{1: key, 2: key})
	w.checkpoint("anne")
	former := w.mem.Keys("backups/user/anne/records/")
	w.commit("anne", nil, expunge(2))
	w.later(8 * day)
	w.condemn(key)
	w.later(25 * hour)
	m, err := w.found("anne").Load(t.Context(), history.Moment{Number: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	objects := history.NewObjects(w.mem, 0)
	w.retain("anne")
	w.later(time.Minute)
	if r := w.collect(); r.Rewritten.Packs != 1 || w.note(key) != 2 {
		t.Errorf("%d entries in the note: %+v", w.note(key), r)
	}
	for _, err := range w.unreadable(objects, m) {
		t.Errorf("a minute after retention: %v", err)
	}
	// Damage in what no checkpoint needs is no obstacle.
	for _, key := range former {
		w.mem.Flip(key, 30)
	}
	w.collect()
	w.check("anne")
}
