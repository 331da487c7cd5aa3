package dirstore

import (
	"path/filepath"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/objstoretest"
)

func newStore(t testing.TB) *Store {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "root"))
}

func open(t testing.TB, root string) *Store {
	t.Helper()
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	objstoretest.Run(t, func(t testing.TB) objstore.Store { return newStore(t) })
}

// TestSmallPages lists directories larger than a page.
func TestSmallPages(t *testing.T) {
	objstoretest.Run(t, func(t testing.TB) objstore.Store {
		s := newStore(t)
		s.page = 40
		return s
	})
}
