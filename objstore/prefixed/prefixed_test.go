package prefixed_test

import (
	"bytes"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/objstoretest"
	"github.com/cyrusbackup/backupd/objstore/prefixed"
)

// TestConformance has neighbours that sort before, within and after the prefix.
func TestConformance(t *testing.T) {
	objstoretest.Run(t, func(t testing.TB) objstore.Store {
		m := memstore.New(nil)
		for _, key := range []string{"a", "mail/backup-2/a", "mail/backup.json", "mail/backup0/b", "z"} {
			if _, err := m.Put(t.Context(), key, bytes.NewReader(nil), objstore.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		return prefixed.New(m, "mail/backup")
	})
}

func TestVersions(t *testing.T) {
	objstoretest.RunVersioned(t, func(t testing.TB) objstore.Store {
		m := memstore.NewVersioned(nil)
		for _, key := range []string{"mail/backup-2/a", "mail/backup/d/a", "mail/backup0/b"} {
			for range 2 {
				if _, err := m.Put(t.Context(), key, bytes.NewReader(nil), objstore.PutOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := objstore.EraseObject(t.Context(), m, "mail/backup/d/a"); err != nil {
			t.Fatal(err)
		}
		return prefixed.New(m, "mail/backup")
	})
}

func TestNoPrefix(t *testing.T) {
	m := memstore.New(nil)
	if prefixed.New(m, "") != objstore.Store(m) {
		t.Error("a store without a prefix is wrapped")
	}
}
