package dirstore

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/objstore"
)

// TestDiskMountedLater: the directory was opened before its disk was mounted over it. From
// then on the store uses the disk's clock and lock, as other processes do.
func TestDiskMountedLater(t *testing.T) {
	s := newStore(t)
	disk := filepath.Join(t.TempDir(), "disk")
	mustPut(t, open(t, disk), "k", "x")
	if err := os.Rename(s.root, s.root+"-below"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(disk, s.root); err != nil {
		t.Fatal(err)
	}

	before, err := s.Stat(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if after, err := s.Stat(t.Context(), "k"); err != nil || !after.StoreTime.After(before.StoreTime) {
		t.Errorf("time does not advance: %v, then %v, %v", before.StoreTime, after.StoreTime, err)
	}

	file, err := os.Open(filepath.Join(s.path(hidden), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.Put(t.Context(), "k", bytes.NewReader([]byte("y")), objstore.PutOptions{IfMatch: before.ETag})
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("the object was replaced while another process had the lock: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
