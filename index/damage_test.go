package index_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// made makes an index with something in it.
func made(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "index")
	x := open(t, dir)
	if err := x.Update(func(txn *index.Txn) error { return txn.Set(index.NextBackupKey(), []byte("1")) }); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func damage(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "MANIFEST"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// withDescriptors leaves the process so many more file descriptors while fn runs.
func withDescriptors(t *testing.T, more int, fn func()) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	used, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	few := was
	few.Cur = uint64(len(used) + more)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Error(err)
		}
	}()
	fn()
}

func TestNoDescriptorsIsNotDamage(t *testing.T) {
	dir := made(t)
	withDescriptors(t, 8, func() {
		if _, err := index.Open(dir, index.Options{}); !errors.Is(err, unix.EMFILE) {
			t.Errorf("opened without descriptors: %v", err)
		}
	})
	if n := index.SetAside(dir); n != 0 {
		t.Errorf("%d were set aside", n)
	}
	x := open(t, dir)
	defer x.Close()
	if _, err := get(t, x, index.NextBackupKey()); err != nil {
		t.Error("index contents:", err)
	}
}

// A daemon starts with an index that cannot be opened yet.
func TestRetryOpen(t *testing.T) {
	dir := made(t)
	var x *index.Index
	withDescriptors(t, 8, func() {
		var err error
		if x, err = index.Open(dir, index.Options{RetryOpen: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := get(t, x, index.NextBackupKey()); !errors.Is(err, index.ErrUnavailable) || !errors.Is(err, cyrus.ErrLocked) {
			t.Errorf("meanwhile: %v", err)
		}
	})
	defer x.Close()
	eventually(t, "what the index held", func() bool {
		_, err := get(t, x, index.NextBackupKey())
		return err == nil
	})
}

// Only the two newest indexes that were set aside are kept, and they never prevent setting
// aside another.
func TestSetAsideIsLimited(t *testing.T) {
	dir := made(t)
	for range 4 {
		damage(t, dir)
		if err := open(t, dir).Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := index.SetAside(dir); n != 2 {
		t.Errorf("%d are kept, want 2", n)
	}
	if found, err := filepath.Glob(dir + "*"); err != nil || len(found) != 3 {
		t.Errorf("%v, %v", found, err)
	}
}

// A process that dies while it opens the index must not do so forever.
func TestCrashesWhileOpening(t *testing.T) {
	dir := made(t)
	for deaths, want := range []int{0, 0, 1} {
		if err := os.WriteFile(dir+".opening", []byte{byte('0' + deaths), '\n'}, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := open(t, dir).Close(); err != nil {
			t.Fatal(err)
		}
		if n := index.SetAside(dir); n != want {
			t.Errorf("after %d deaths %d were set aside, want %d", deaths, n, want)
		}
	}
	if _, err := os.Stat(dir + ".opening"); !errors.Is(err, os.ErrNotExist) {
		t.Error("the note is still there:", err)
	}
}
