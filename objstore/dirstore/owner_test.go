package dirstore

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/objstore"
)

// somebody is a user that exists on no machine.
const somebody = 64123

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
}

// strangers returns the paths below root that somebody does not own.
func strangers(t *testing.T, root string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != somebody || st.Gid != somebody {
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// What root creates in a directory of somebody belongs to him, so that his server can use it.
func TestRootGivesFilesAway(t *testing.T) {
	needRoot(t)
	parent := t.TempDir()
	if err := os.Chown(parent, somebody, somebody); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(parent, "spool")
	for range 2 { // the directory is made, and found
		s := open(t, root)
		mustPut(t, s, "a/b/c", "one")
		if _, err := s.Put(t.Context(), "a/once", bytes.NewReader([]byte("two")), objstore.PutOptions{IfAbsent: true}); err != nil && !errors.Is(err, objstore.ErrExist) {
			t.Fatal(err)
		}
	}
	if s := strangers(t, root); len(s) > 0 {
		t.Errorf("not somebody's: %q", s)
	}
}

// A file that cannot be given away is not left.
func TestRootCannotGiveFilesAway(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	if err := os.Chown(root, somebody, somebody); err != nil {
		t.Fatal(err)
	}
	s := open(t, root)
	for n := 1; ; n++ {
		left := n
		s.trap = func(name, _ string, do func() error) error {
			if left--; name == "chown" && left <= 0 {
				return unix.EPERM
			}
			return do()
		}
		_, err := s.Put(t.Context(), "a/b", bytes.NewReader([]byte("x")), objstore.PutOptions{})
		s.trap = nil
		if err == nil {
			break
		}
		if !errors.Is(err, objstore.ErrDenied) {
			t.Errorf("chown fails from step %d on: %v", n, err)
		}
		if s := strangers(t, root); len(s) > 0 {
			t.Errorf("chown fails from step %d on, not somebody's: %q", n, s)
		}
	}
	if info, err := s.Stat(t.Context(), "a/b"); err != nil || info.Size != 1 {
		t.Errorf("%+v, %v", info, err)
	}
}

// A link that the owner of the directory has made keeps what it leads to.
func TestRootGivesNothingElseAway(t *testing.T) {
	needRoot(t)
	root, precious := t.TempDir(), filepath.Join(t.TempDir(), "precious")
	if err := errors.Join(os.WriteFile(precious, nil, 0o600), os.Mkdir(filepath.Join(root, hidden), 0o700),
		os.Symlink(precious, filepath.Join(root, hidden, "lock")), os.Symlink(filepath.Dir(precious), filepath.Join(root, "a")),
		os.Chown(root, somebody, somebody)); err != nil {
		t.Fatal(err)
	}
	s := open(t, root)
	_, _ = s.Put(t.Context(), "a/b", bytes.NewReader([]byte("x")), objstore.PutOptions{}) // refused or not
	for _, path := range []string{precious, filepath.Dir(precious)} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 {
			t.Errorf("%s belongs to %d", path, st.Uid)
		}
	}
}
