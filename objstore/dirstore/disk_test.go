package dirstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/objstore"
)

func mustPut(t testing.TB, s *Store, key, text string) {
	t.Helper()
	if _, err := s.Put(t.Context(), key, bytes.NewReader([]byte(text)), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "not", "there")); !errors.Is(err, objstore.ErrNoBucket) {
		t.Errorf("parent missing: %v", err)
	}
	if _, err := Open("relative"); err == nil {
		t.Error("a relative path was accepted")
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil {
		t.Error("a file was accepted")
	}
	s := open(t, filepath.Join(dir, "new"))
	mustPut(t, s, "a/b", "x")
	for name, want := range map[string]fs.FileMode{".": 0o700, "a": 0o700, "a/b": 0o600, hidden: 0o700} {
		info, err := os.Stat(s.path(name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	open(t, filepath.Join(dir, "new")) // a second time, at the same time
}

// TestRootGone: a root that is no longer the opened directory (a disk that is not mounted)
// reports neither objects nor missing objects.
func TestRootGone(t *testing.T) {
	s := newStore(t)
	mustPut(t, s, "a", "x")
	if err := os.Rename(s.root, s.root+"-away"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // without a directory, then with an empty one
		for name, call := range map[string]func() error{
			"put": func() error {
				_, err := s.Put(t.Context(), "a", bytes.NewReader(nil), objstore.PutOptions{IfAbsent: true})
				return err
			},
			"get":    func() error { _, err := s.Get(t.Context(), "a", 0, -1); return err },
			"stat":   func() error { _, err := s.Stat(t.Context(), "a"); return err },
			"delete": func() error { return s.Delete(t.Context(), "a") },
			"list": func() (err error) {
				for _, err = range s.List(t.Context(), "", "") {
				}
				return err
			},
		} {
			if err := call(); !errors.Is(err, objstore.ErrNoBucket) {
				t.Errorf("%s: %v, want %v", name, err, objstore.ErrNoBucket)
			}
		}
		if err := os.MkdirAll(s.root, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLeftovers: a crash leaves a temporary file. It is never an object, and is removed
// when it is a day old.
func TestLeftovers(t *testing.T) {
	s := newStore(t)
	old, young := filepath.Join(s.path(hidden), "put-1"), filepath.Join(s.path(hidden), "put-2")
	for file, age := range map[string]time.Duration{old: 25 * time.Hour, young: time.Hour} {
		if err := os.WriteFile(file, []byte("half an obj"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	for info, err := range s.List(t.Context(), "", "") {
		t.Errorf("listed %s, %v", info.Key, err)
	}
	open(t, s.root)
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an old temporary file: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("a recent temporary file, perhaps in use: %v", err)
	}
	for _, key := range []string{hidden, hidden + "/lock", hidden + "/put-2"} {
		if _, err := s.Get(t.Context(), key, 0, -1); !errors.Is(err, objstore.ErrKey) {
			t.Errorf("get %s: %v", key, err)
		}
	}
}

// TestNoTempLeft: successful and failed puts leave no second name.
func TestNoTempLeft(t *testing.T) {
	s := newStore(t)
	mustPut(t, s, "k", "x")
	mustPut(t, s, "k", "y")
	for _, opt := range []objstore.PutOptions{{IfAbsent: true}, {IfMatch: "x"}} {
		if _, err := s.Put(t.Context(), "k", bytes.NewReader(nil), opt); err == nil {
			t.Error("put succeeded")
		}
	}
	if _, err := s.Put(t.Context(), "k2", bytes.NewReader(nil), objstore.PutOptions{IfAbsent: true}); err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(filepath.Join(s.path(hidden), tempPattern))
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	info, err := os.Stat(s.path("k2"))
	if err != nil {
		t.Fatal(err)
	}
	if n := info.Sys().(*syscall.Stat_t).Nlink; n != 1 {
		t.Errorf("%d links", n)
	}
}

// TestDirectoryRemovedByHand: the store's memory of directories may be wrong.
func TestDirectoryRemovedByHand(t *testing.T) {
	s := newStore(t)
	mustPut(t, s, "a/b/c", "x")
	for i, opt := range []objstore.PutOptions{{}, {IfAbsent: true}} {
		if err := os.RemoveAll(s.path("a")); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(t.Context(), "a/b/c", bytes.NewReader([]byte("y")), opt); err != nil {
			t.Errorf("put %d: %v", i, err)
		}
	}
}

func TestKeyIsDirectory(t *testing.T) {
	s := newStore(t)
	mustPut(t, s, "d/x", "x")
	for _, opt := range []objstore.PutOptions{{}, {IfAbsent: true}} {
		if _, err := s.Put(t.Context(), "d", bytes.NewReader(nil), opt); !errors.Is(err, objstore.ErrKey) {
			t.Errorf("put on a directory: %v", err)
		}
		if _, err := s.Put(t.Context(), "d/x/y", bytes.NewReader(nil), opt); err == nil {
			t.Errorf("put below an object: %v", err)
		}
	}
}

func TestErrors(t *testing.T) {
	for errno, want := range map[unix.Errno]struct {
		is        error
		temporary bool
	}{
		unix.ENOSPC:       {objstore.ErrNoSpace, true},
		unix.EDQUOT:       {objstore.ErrNoSpace, true},
		unix.EACCES:       {objstore.ErrDenied, false},
		unix.EROFS:        {objstore.ErrDenied, false},
		unix.EIO:          {unix.EIO, true},
		unix.ESTALE:       {unix.ESTALE, true},
		unix.EMFILE:       {unix.EMFILE, true},
		unix.ENAMETOOLONG: {objstore.ErrKey, false},
		unix.ENOTDIR:      {unix.ENOTDIR, false},
	} {
		err := failed("put", "k", time.Time{}, &fs.PathError{Op: "write", Path: "/x", Err: errno})
		if !errors.Is(err, want.is) || objstore.IsTemporary(err) != want.temporary {
			t.Errorf("%v: %v, temporary %v", errno, err, objstore.IsTemporary(err))
		}
	}
}

// TestProcesses increments a number from several processes concurrently.
func TestProcesses(t *testing.T) {
	const processes, each = 4, 25
	s := newStore(t)
	mustPut(t, s, "n", "1000")
	var cmds []*exec.Cmd
	for range processes {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestIncrementer$")
		cmd.Env = append(os.Environ(), rootEnv+"="+s.root, countEnv+"="+strconv.Itoa(each))
		cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	if n, _, err := readNumber(t.Context(), s); err != nil || n != 1000+processes*each {
		t.Errorf("counted to %d, %v, want %d", n, err, 1000+processes*each)
	}
	won := 0
	for i := range processes * each {
		if _, err := s.Stat(t.Context(), fmt.Sprintf("log/%d", i)); err == nil {
			won++
		}
	}
	if won != processes*each {
		t.Errorf("%d of %d log entries", won, processes*each)
	}
}

const rootEnv, countEnv = "DIRSTORE_TEST_ROOT", "DIRSTORE_TEST_COUNT"

// TestIncrementer is the child process of TestProcesses; alone it does nothing. Each
// increment is followed by an entry in a numbered log, like commits.
func TestIncrementer(t *testing.T) {
	root := os.Getenv(rootEnv)
	if root == "" {
		return
	}
	count, err := strconv.Atoi(os.Getenv(countEnv))
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, root)
	next := 0
	for range count {
		if err := increment(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		for {
			_, err := s.Put(t.Context(), fmt.Sprintf("log/%d", next), bytes.NewReader([]byte("x")), objstore.PutOptions{IfAbsent: true})
			next++
			if err == nil {
				break
			}
			if !errors.Is(err, objstore.ErrExist) {
				t.Fatal(err)
			}
		}
	}
}

func increment(ctx context.Context, s *Store) error {
	for {
		n, info, err := readNumber(ctx, s)
		if err != nil {
			return err
		}
		_, err = s.Put(ctx, "n", strings.NewReader(strconv.Itoa(n+1)), objstore.PutOptions{IfMatch: info.ETag})
		if err == nil || !errors.Is(err, objstore.ErrPrecondition) {
			return err
		}
	}
}

func readNumber(ctx context.Context, s *Store) (int, objstore.Info, error) {
	obj, err := s.Get(ctx, "n", 0, -1)
	if err != nil {
		return 0, objstore.Info{}, err
	}
	text, err := io.ReadAll(obj)
	if err := errors.Join(err, obj.Close()); err != nil {
		return 0, objstore.Info{}, err
	}
	n, err := strconv.Atoi(string(text))
	return n, obj.Info, err
}
