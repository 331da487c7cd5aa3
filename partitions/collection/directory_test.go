package collection_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/dirstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A partition can be a directory, whose ages are those of its files.
func TestDirectory(t *testing.T) {
	w := newWorld(t)
	w.now = time.Now()
	used, unused := w.pack(1), w.pack(2)
	w.commit("anne", map[int]string{1: used})
	w.checkpoint("anne")
	dir := t.TempDir()
	s, err := dirstore.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	age := func(key string, d time.Duration) {
		t.Helper()
		at := time.Now().Add(-d)
		if err := os.Chtimes(filepath.Join(dir, filepath.FromSlash(key)), at, at); err != nil {
			t.Fatal(err)
		}
	}
	put := func(key string, b []byte) {
		t.Helper()
		if _, err := s.Put(t.Context(), key, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		age(key, 8*day)
	}
	for _, key := range w.mem.Keys("") {
		put(key, w.mem.Bytes(key))
	}
	collect := func() {
		t.Helper()
		r, err := collection.Collect(t.Context(), repository.Config{Name: "p", Location: dir, Store: s},
			collection.Options{Cache: w.cache, Lock: repository.LockOptions{Owner: "test"}})
		if err != nil || r.Blocking > 0 {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	collect()
	list, _, err := history.ReadCondemned(t.Context(), s)
	if err != nil || !list.Has(unused) || list.Has(used) {
		t.Fatalf("condemned: %+v, %v", list, err)
	}
	list.Packs[0].Since = list.Packs[0].Since.Add(-25 * hour)
	b, err := list.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	put(history.CondemnedKey, b)
	collect()
	if _, err := s.Stat(t.Context(), unused); !errors.Is(err, objstore.ErrNotExist) {
		t.Errorf("the unused pack: %v", err)
	}
	if _, err := s.Stat(t.Context(), used); err != nil {
		t.Errorf("the used pack: %v", err)
	}
}
