package erasure_test

import (
	"testing"

	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A repair that was interrupted has left packs in set-aside/. They disappear with all their versions,
// and nothing else there does.
func TestParkedPack(t *testing.T) {
	w := newWorld(t)
	private, mixed := w.content()
	other := w.pack(150)
	for _, key := range []string{private, mixed, other} {
		w.put("set-aside/"+key, w.mem.Bytes(key))
	}
	if err := w.mem.Delete(t.Context(), "set-aside/"+mixed); err != nil { // a former version is left
		t.Fatal(err)
	}
	w.later(hour)
	w.erase()
	w.later(day + hour)
	w.finish()
	w.gone()
	if !w.has("set-aside/" + other) {
		t.Error("a pack of another backup is gone")
	}
}

// A pack without a note may have disappeared by accident. Then what the repair has left may be the
// only copy of messages of others: it stays, and the erasure is open.
func TestParkedWithoutNote(t *testing.T) {
	w := newWorld(t)
	_, mixed := w.content()
	w.put("set-aside/"+mixed, w.mem.Bytes(mixed))
	w.later(hour)
	w.erase()
	w.mem.Lose(mixed)
	moved, _ := history.MovedKey(mixed)
	for range 2 {
		w.later(day + hour)
		s, err := w.tryFinish()
		if err != nil || len(s) != 1 || s[0].Left != 1 || s[0].State != repository.ErasurePending || w.has(moved) {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	if !w.has("set-aside/" + mixed) {
		t.Error("the only copy is gone")
	}
}

// If the parked pack cannot be removed, the erasure does not end.
func TestParkedIsCounted(t *testing.T) {
	w := newWorld(t)
	private, _ := w.content()
	w.put("set-aside/"+private, w.mem.Bytes(private))
	w.later(hour)
	w.erase()
	w.later(day + hour)
	w.deny("set-aside/packs/")
	if s := w.finish(); len(s) != 1 || s[0].Left != 1 {
		t.Errorf("%+v", s)
	}
	w.store = w.mem
	if r := w.records()[0]; r.State != repository.ErasurePending {
		t.Errorf("%+v", r)
	}
	w.later(day)
	w.finish()
	w.gone()
}
