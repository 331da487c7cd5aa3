package dirstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/objstore"
)

// messages is a log that a test can inspect.
type messages struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (m *messages) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.Write(p)
}

func (m *messages) count(text string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Count(m.text.String(), text)
}

// openShort opens a store with a short timeout.
func openShort(t *testing.T) (*Store, *messages) {
	t.Helper()
	said := &messages{}
	s, err := OpenWith(t.Context(), filepath.Join(memoryDir(t), "root"), Options{
		CallTimeout: 100 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(said, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, said
}

func (s *Store) hanging() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hung
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timeout: %s", what)
		}
	}
}

// TestLockHeld: another process holds the root's lock; it is stopped, or its host has died.
func TestLockHeld(t *testing.T) {
	s, said := openShort(t)
	mustPut(t, s, "k", "before")
	file, err := os.Open(filepath.Join(s.path(hidden), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		_, err := s.Put(t.Context(), "k", strings.NewReader("after"), objstore.PutOptions{})
		if !objstore.IsTemporary(err) || !errors.Is(err, errHangs) {
			t.Errorf("put %d: %v", i, err)
		}
	}
	if err := s.Delete(t.Context(), "k"); !objstore.IsTemporary(err) {
		t.Errorf("delete: %v", err)
	}
	waitFor(t, "a put that needs no lock is OK", func() bool { // a busy host is slow, too
		_, err := s.Put(t.Context(), "log/1", strings.NewReader("1"), objstore.PutOptions{IfAbsent: true})
		return err == nil || errors.Is(err, objstore.ErrExist)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if err := s.Delete(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("delete with a deadline: %v", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "all calls have ended", func() bool { return s.hanging() == 0 && len(s.calls) == 0 })
	if text, err := (&writer{t: t, s: s}).read("k"); err != nil || text != "before" {
		t.Errorf("abandoned calls took effect: %q, %v", text, err)
	}
	mustPut(t, s, "k", "after")
	if hangs, again := said.count("hangs: check its disk"), said.count("answers again"); hangs != 1 || again != 1 {
		t.Errorf("logged %d times that it hangs, %d times that it answers again:\n%s", hangs, again, said.text.String())
	}
}

// TestHangs: a disk that hangs at any system call gives every caller a temporary error,
// blocks a limited number of threads, and does no harm when it returns.
func TestHangs(t *testing.T) {
	for _, at := range []string{"clock", "create", "write", "fsync", "mkdir", "link", "stat", "open", "read", "readdir", "close"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			s, said := openShort(t)
			mustPut(t, s, "k", "text")
			release := make(chan struct{})
			var inside, most atomic.Int64
			s.trap = func(name, path string, do func() error) error {
				if name == at {
					most.Store(max(most.Load(), inside.Add(1)))
					<-release
					inside.Add(-1)
				}
				return do()
			}
			var wg sync.WaitGroup
			for i := range 2 * maxCalls {
				wg.Go(func() { useOnce(t, s, i) })
			}
			wg.Wait()
			if n := most.Load(); n == 0 || n > maxCalls {
				t.Errorf("%d calls hang at a time, want 1 to %d", n, maxCalls)
			}
			close(release)
			waitFor(t, "all calls have ended", func() bool { return s.hanging() == 0 && len(s.calls) == 0 })
			if hangs, again := said.count("hangs: check its disk"), said.count("answers again"); hangs == 0 || again != hangs {
				t.Errorf("logged %d times that it hangs, %d times that it answers again", hangs, again)
			}
			s.trap, s.callTimeout = nil, time.Minute
			whole(t, s)
		})
	}
}

// textOf is longer than a single write for some keys.
func textOf(i int) []byte {
	if i%16 == 0 {
		return bytes.Repeat(fmt.Appendf(nil, "%03d ", i), 100<<10)
	}
	return fmt.Appendf(nil, "%03d ", i)
}

// useOnce makes calls that must soon succeed or fail with a temporary error. It changes the
// body as soon as its put has returned.
func useOnce(t *testing.T, s *Store, i int) {
	start := time.Now()
	text := textOf(i)
	_, err := s.Put(t.Context(), fmt.Sprintf("d%d/%d", i%3, i), bytes.NewReader(text), objstore.PutOptions{IfAbsent: true})
	for j := range text {
		text[j] = 'x'
	}
	if _, e := s.Stat(t.Context(), "k"); e != nil {
		err = e
	}
	obj, e := s.Get(t.Context(), "k", 0, -1)
	if e == nil {
		_, e = io.ReadAll(obj)
		if e2 := obj.Close(); e == nil {
			e = e2
		}
	}
	if e != nil {
		err = e
	}
	for _, e := range s.List(t.Context(), "", "") {
		if e != nil {
			err = e
		}
	}
	if err != nil && !objstore.IsTemporary(err) {
		t.Errorf("not temporary: %v", err)
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("the calls took %v", d)
	}
}

// whole checks that each object of useOnce has the bytes of its put.
func whole(t *testing.T, s *Store) {
	t.Helper()
	for info, err := range s.List(t.Context(), "d", "") {
		if err != nil {
			t.Fatal(err)
		}
		var dir, i int
		if _, err := fmt.Sscanf(info.Key, "d%d/%d", &dir, &i); err != nil {
			t.Fatal(err)
		}
		text, err := (&writer{t: t, s: s}).read(info.Key)
		if err != nil || text != string(textOf(i)) {
			t.Errorf("%s: %d bytes that were not put, %v", info.Key, len(text), err)
		}
	}
}

// TestOpenHangs: a dead server does not block the start either.
func TestOpenHangs(t *testing.T) {
	s := storeAt(t.TempDir(), Options{CallTimeout: 20 * time.Millisecond})
	release := make(chan struct{})
	defer close(release)
	s.trap = func(_, _ string, do func() error) error {
		<-release
		return do()
	}
	if err := s.start(t.Context()); !objstore.IsTemporary(err) {
		t.Errorf("open: %v", err)
	}
}
