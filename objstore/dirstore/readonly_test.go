package dirstore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
)

// A read-only store creates nothing, and states the time of the clock that a writer has made.
func TestReadOnlyCreatesNothing(t *testing.T) {
	root := filepath.Join(t.TempDir(), "spool")
	if _, err := OpenWith(t.Context(), root, Options{ReadOnly: true}); !errors.Is(err, objstore.ErrNoBucket) {
		t.Errorf("a missing root: %v", err)
	}
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, written := range []bool{false, true} {
		if written {
			mustPut(t, open(t, root), "k", "x")
		}
		s, err := OpenWith(t.Context(), root, Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		if info, err := s.Stat(t.Context(), "k"); written != (err == nil) || written == info.StoreTime.IsZero() {
			t.Errorf("stat: %+v, %v", info, err)
		}
		if _, err := s.Put(t.Context(), "new/k", bytes.NewReader(nil), objstore.PutOptions{}); !errors.Is(err, objstore.ErrDenied) {
			t.Errorf("put: %v", err)
		}
		if err := s.Delete(t.Context(), "k"); !errors.Is(err, objstore.ErrDenied) {
			t.Errorf("delete: %v", err)
		}
		entries, err := os.ReadDir(root)
		if want := map[bool]int{false: 0, true: 2}[written]; err != nil || len(entries) != want { // k and .objstore
			t.Errorf("written %v: %v, %v", written, entries, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
