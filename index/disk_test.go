package index_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// diskVariable contains the directory of the small disk in the process that uses it.
const diskVariable = "INDEX_TEST_DISK"

// onSmallDisk runs the test again in a separate process with its own mount and ends the
// current test. In that process it returns the directory of the mount.
func onSmallDisk(t *testing.T, size string) string {
	t.Helper()
	if dir := os.Getenv(diskVariable); dir != "" {
		return dir
	}
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", `mount -t tmpfs -o size=`+size+` none "$0" && exec "$@"`,
		dir, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), diskVariable+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
	return ""
}

// fill uses up the disk at once, like fallocate(1), except for leave bytes.
func fill(t *testing.T, dir string, leave int64) (empty func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := int64(0); ; { // the index allocates and frees space meanwhile
		free, err := freeBytes(dir)
		if err != nil {
			t.Fatal(err)
		}
		if free <= leave {
			break
		}
		if unix.Fallocate(int(f.Fd()), 0, size, free-leave) == nil {
			size += free - leave
		}
	}
	return func() {
		if err := os.Remove(f.Name()); err != nil {
			t.Error(err)
		}
	}
}

// writer writes to an index and remembers what it wrote.
type writer struct {
	t       *testing.T
	x       *index.Index
	number  uint64 // of its backup
	written atomic.Uint32
}

func (w *writer) run(stop <-chan struct{}) {
	value := []byte(strings.Repeat("v", 8<<10))
	for n := uint32(1); ; {
		select {
		case <-stop:
			return
		default:
		}
		err := w.x.Update(func(txn *index.Txn) error {
			for i := range uint32(20) {
				if err := txn.Set(index.RecordKey(w.number, fmt.Sprint(i), n), value); err != nil {
					return err
				}
			}
			return nil
		})
		switch {
		case err == nil:
			w.written.Store(n)
			n++
		case errors.Is(err, index.ErrUnavailable) && errors.Is(err, cyrus.ErrLocked):
			time.Sleep(time.Millisecond)
		default:
			w.t.Errorf("write: %v", err)
			return
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timeout after 20 s: %s", what)
		}
	}
}

// A disk that fills up at any moment of a busy index ends no process: writes are refused,
// no written data is lost, and writing continues once there is space.
func TestFullDisk(t *testing.T) {
	dir := onSmallDisk(t, "400m")
	if dir == "" {
		return
	}
	x, err := index.Open(filepath.Join(dir, "index"), index.Options{Reserve: 24 << 20, RetryOpen: true, Watch: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var running sync.WaitGroup
	writers := []*writer{{t: t, x: x, number: 1}, {t: t, x: x, number: 2}}
	for _, w := range writers {
		running.Go(func() { w.run(stop) })
	}
	for round := range 3 {
		leave := int64(round%2) * (8 << 20)
		before := writers[0].written.Load()
		eventually(t, "some more writes", func() bool { return writers[0].written.Load() > before+20 })
		empty := fill(t, dir, leave)
		eventually(t, "a refusal", func() bool {
			return errors.Is(x.View(func(*index.Txn) error { return nil }), cyrus.ErrLocked)
		})
		empty()
		before = writers[0].written.Load()
		eventually(t, "writes again", func() bool { return writers[0].written.Load() > before })
		if err := x.DropBackup(1); err != nil && !errors.Is(err, index.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	close(stop)
	running.Wait()
	last := writers[1].written.Load()
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	x = open(t, filepath.Join(dir, "index"))
	defer x.Close()
	for n := uint32(1); n <= last; n++ {
		if _, err := get(t, x, index.RecordKey(2, "7", n)); err != nil {
			t.Fatalf("write %d of %d: %v", n, last, err)
		}
	}
}

// Badger's mapped files must be allocated, because a write to a sparse file on a full disk
// ends the process.
func TestMappedFilesAreAllocated(t *testing.T) {
	dir := t.TempDir()
	x := open(t, dir)
	defer x.Close()
	w := &writer{t: t, x: x, number: 1}
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { w.run(stop) })
	eventually(t, "a table", func() bool {
		tables, _ := filepath.Glob(filepath.Join(dir, "*.sst"))
		return len(tables) > 0
	})
	close(stop)
	running.Wait()
	var looked int
	for _, pattern := range []string{"*.sst", "*.mem", "DISCARD"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %v, %v", pattern, paths, err)
		}
		for _, path := range paths {
			var st unix.Stat_t
			if err := unix.Stat(path, &st); errors.Is(err, unix.ENOENT) {
				continue // compacted meanwhile
			} else if err != nil {
				t.Fatal(err)
			}
			looked++
			if st.Blocks*512 < st.Size {
				t.Errorf("%s has %d bytes, and blocks for %d", path, st.Size, st.Blocks*512)
			}
		}
	}
	if looked < 3 {
		t.Errorf("looked at %d files", looked)
	}
}

// A value that does not fit is refused. A value of the same size is written once there is
// space.
func TestLargeValueOnAFullDisk(t *testing.T) {
	dir := onSmallDisk(t, "160m")
	if dir == "" {
		return
	}
	x, err := index.Open(filepath.Join(dir, "index"), index.Options{Reserve: 8 << 20, Watch: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	large := []byte(strings.Repeat("<", 40<<20))
	set := func() error {
		return x.Update(func(txn *index.Txn) error { return txn.Set(index.ItemKey(1, "sieve", "a", "", ""), large) })
	}
	empty := fill(t, dir, 20<<20)
	if err := set(); !errors.Is(err, index.ErrUnavailable) {
		t.Fatalf("without room: %v", err)
	}
	empty()
	eventually(t, "the value is written", func() bool { return set() == nil })
	if v, err := get(t, x, index.ItemKey(1, "sieve", "a", "", "")); err != nil || len(v) != len(large) {
		t.Errorf("read: %d bytes, %v", len(v), err)
	}
}

// An index that was set aside must not keep the new one from opening.
func TestSetAsideMakesRoom(t *testing.T) {
	dir := onSmallDisk(t, "120m")
	if dir == "" {
		return
	}
	path := filepath.Join(dir, "index")
	for _, name := range []string{path + ".damaged", path + ".damaged.old"} {
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(name, "000001.sst"))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, 30<<20), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	x, err := index.Open(path, index.Options{Reserve: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if n := x.Status().SetAside; n != 1 {
		t.Errorf("%d are kept, want the newest", n)
	}
	if _, err := os.Stat(path + ".damaged"); err != nil {
		t.Error(err)
	}
}

// An index on a full disk is not opened, and not treated as damaged.
func TestFullDiskIsNotDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "index")
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	free, err := freeBytes(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = index.Open(dir, index.Options{Reserve: free})
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "backup_index_reserve") {
		t.Fatalf("opened with less than the reserve free: %v", err)
	}
	if n := index.SetAside(dir); n != 0 {
		t.Errorf("%d were set aside", n)
	}
}

func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	return int64(st.Bavail) * st.Bsize, err
}
