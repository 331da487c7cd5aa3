package dirstore

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// disk models what remains after a power cut. It forgets as much as Linux permits: a
// directory entry survives only a successful fsync of the directory, and pages that were
// dirty at a failed fsync become clean and are lost.
type disk struct {
	t      *testing.T
	top    string // existing before the test
	fail   func(fsync int, path string) bool
	killAt int // the system call at which the process dies; 0: none
	during func(name, path string)

	mu      sync.Mutex
	entries map[string]map[string]*object // durable, by directory and name
	pending map[string]map[string]*object // not yet synced
	files   map[uint64]*object            // by inode
	fsyncs  int
	calls   int
}

// object is a file's data, or a directory.
type object struct {
	dir    bool
	data   []byte
	synced bool
	failed bool // an fsync failed: later fsyncs have no effect
}

var errKilled = errors.New("killed")

func newDisk(t *testing.T) *disk {
	return &disk{t: t, top: memoryDir(t), entries: map[string]map[string]*object{}, pending: map[string]map[string]*object{}, files: map[uint64]*object{}}
}

// memoryDir uses a memory file system, if available, to spare the real disk.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "dirstore-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// process is a new process that uses the disk.
func (d *disk) process() *Store {
	d.t.Helper()
	s := storeAt(filepath.Join(d.top, "root"), Options{})
	s.trap = d.trap
	c, cancel := newCall(d.t.Context(), s)
	defer cancel()
	err := s.open(c)
	for errors.Is(err, unix.EIO) {
		err = s.open(c)
	}
	if err != nil && !errors.Is(err, errKilled) {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = s.Close() })
	return s
}

func (d *disk) trap(name, path string, do func() error) error {
	d.mu.Lock()
	d.calls++
	killed := d.killAt > 0 && d.calls >= d.killAt
	d.mu.Unlock()
	if killed {
		if name == "unlock" || name == "close" { // like the end of a process
			return do()
		}
		return errKilled
	}
	if d.during != nil {
		d.during(name, path)
	}
	if name != "fsync" {
		if err := do(); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch name {
	case "fsync":
		return d.fsync(path)
	case "link", "rename", "mkdir":
		d.enter(path)
	case "unlink", "rmdir":
		d.set(d.pending, path, nil)
	case "write":
		delete(d.files, inode(d.t, path))
	}
	return nil
}

func (d *disk) fsync(path string) error {
	d.fsyncs++
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	failed := d.fail != nil && d.fail(d.fsyncs, path)
	if !st.IsDir() {
		o := d.file(path)
		o.failed = o.failed || failed
		o.synced = o.synced || !o.failed
	} else if !failed {
		for name, o := range d.pending[path] {
			d.set(d.entries, filepath.Join(path, name), o)
		}
	}
	if st.IsDir() {
		delete(d.pending, path)
	}
	if failed {
		return &os.PathError{Op: "sync", Path: path, Err: unix.EIO}
	}
	return nil
}

func (d *disk) file(path string) *object {
	ino := inode(d.t, path)
	if d.files[ino] == nil {
		d.files[ino] = &object{}
	}
	return d.files[ino]
}

func (d *disk) enter(path string) {
	st, err := os.Stat(path)
	if err != nil {
		d.t.Fatal(err)
	}
	if st.IsDir() {
		d.set(d.pending, path, &object{dir: true, synced: true})
		return
	}
	o := d.file(path)
	if o.data, err = os.ReadFile(path); err != nil {
		d.t.Fatal(err)
	}
	d.set(d.pending, path, o)
}

func (d *disk) set(in map[string]map[string]*object, path string, o *object) {
	dir, name := filepath.Split(path)
	dir = filepath.Clean(dir)
	if in[dir] == nil {
		in[dir] = map[string]*object{}
	}
	in[dir][name] = o
}

// left returns the text of an object after a power cut.
func (d *disk) left(key string) (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, o := d.top, (*object)(nil)
	for part := range strings.SplitSeq("root/"+key, "/") {
		if o = d.entries[at][part]; o == nil || !o.synced {
			return "", false
		}
		at = filepath.Join(at, part)
	}
	return string(o.data), true
}

func inode(t testing.TB, path string) uint64 {
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Sys().(*syscall.Stat_t).Ino
}
