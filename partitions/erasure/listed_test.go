package erasure_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/faultstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/erasure"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A list of packs is lost or damaged. That is reported every night, other packs are collected, and the
// erasure ends when the list is back.
func TestUnreadableList(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*world, string)
		want  error
	}{
		"lost":    {func(w *world, key string) { w.mem.Lose(key) }, objstore.ErrNotExist},
		"damaged": {func(w *world, key string) { w.mem.Flip(key, 20) }, history.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.content()
			w.later(hour)
			w.erase()
			unused := w.pack(150)
			key := repository.ErasurePacksKey(w.records()[0].ID)
			was := w.mem.Bytes(key)
			c.spoil(w, key)
			for range 12 {
				w.later(day + hour)
				w.finish()
				if !errors.Is(w.unlisted, c.want) || !strings.Contains(w.unlisted.Error(), key) {
					t.Fatalf("%v", w.unlisted)
				}
				if open := w.open(); len(open) != 1 || open[0].State != repository.ErasurePending {
					t.Fatalf("%+v", open)
				}
			}
			if w.has(unused) {
				t.Error("an unused pack was not collected")
			}
			w.put(key, was)
			w.later(day)
			w.finish()
			w.mem.Lose(key) // with its former versions
			for range 2 {
				w.later(day)
				w.finish()
			}
			if r := w.records()[0]; r.State != repository.ErasureDone || w.unlisted != nil {
				t.Errorf("%s, %v", r.State, w.unlisted)
			}
		})
	}
}

// An erasure that was interrupted before it put its packs on record is open.
func TestOpenBegun(t *testing.T) {
	w := newWorld(t)
	w.content()
	w.deny("backups/")
	if _, err := w.tryErase(); !errors.Is(err, objstore.ErrDenied) {
		t.Fatal(err)
	}
	if open := w.open(); len(open) != 1 || open[0].State != repository.ErasureBegun {
		t.Errorf("%+v", open)
	}
}

// A record that the store does not return now may be about this backup: the run stops, and does not
// begin a second one beside it.
func TestRecordIsNotReturned(t *testing.T) {
	w := newWorld(t)
	w.content()
	f := faultstore.New(w.mem)
	f.Add(faultstore.Fault{Count: 1, Match: func(op, key string) bool { return op == "get" && strings.HasPrefix(key, "erased/") }, Before: func(string, string) error {
		return &objstore.Error{Op: "get", Temporary: true, Err: errors.New("no answer")}
	}})
	w.store = f
	if _, err := w.tryErase(); err == nil {
		t.Error("no error")
	}
	w.store = w.mem
	w.later(hour)
	w.erase()
	if list := w.records(); len(list) != 1 || list[0].State != repository.ErasurePending {
		t.Errorf("%d records", len(list))
	}
}

// A collection puts what it has read of a backup after an erasure that was interrupted has set the
// backup aside. The next run removes that, too.
func TestLateUses(t *testing.T) {
	w := newWorld(t)
	w.content()
	f := faultstore.New(w.mem)
	f.Add(faultstore.Fault{Match: func(op, key string) bool { return op == "put" && strings.HasSuffix(key, ".packs.zst") }, Before: func(string, string) error {
		return &objstore.Error{Op: "put", Err: objstore.ErrDenied}
	}})
	w.store = f
	if _, err := w.tryErase(); !errors.Is(err, objstore.ErrDenied) {
		t.Fatal(err)
	}
	w.store = w.mem
	w.put(collection.UsesKey(anne), []byte("x"))
	w.later(hour)
	w.erase()
	if left := w.mem.Keys(repository.BackupPrefix(anne)); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	w.later(erasure.Grace + hour)
	w.finish()
	w.gone()
}
