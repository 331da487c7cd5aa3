package prefixed_test

import (
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/dirstore"
	"github.com/cyrusbackup/backupd/objstore/limit"
	"github.com/cyrusbackup/backupd/objstore/objstoretest"
	"github.com/cyrusbackup/backupd/objstore/observe"
	"github.com/cyrusbackup/backupd/objstore/prefixed"
	"github.com/cyrusbackup/backupd/objstore/retry"
)

// TestStack runs the decorators in the order of a real program.
func TestStack(t *testing.T) {
	objstoretest.Run(t, func(t testing.TB) objstore.Store {
		d, err := dirstore.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
		s := observe.New(d, new(observe.Counter).Hooks()) // sees each try
		s = limit.New(s, limit.Options{Requests: 4, Upload: 1 << 30})
		s = retry.New(s, retry.Options{})
		return prefixed.New(s, "mail/backup")
	})
}
