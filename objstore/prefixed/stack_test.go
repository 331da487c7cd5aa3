package prefixed_test

import (
	"testing"

	"backupd/objstore"
	"backupd/objstore/dirstore"
	"backupd/objstore/limit"
	"backupd/objstore/objstoretest"
	"backupd/objstore/observe"
	"backupd/objstore/prefixed"
	"backupd/objstore/retry"
)

// TestStack runs the decorators as a program stacks them.
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
