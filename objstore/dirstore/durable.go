package dirstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// settledAge is the age at which any object counts as durable: Linux writes dirty pages
	// within half a minute (vm.dirty_expire_centisecs).
	settledAge = time.Hour
	// maxKnown limits the number of remembered durable objects, maxDoubts that of
	// directories with a failed fsync.
	maxKnown, maxDoubts = 8192, 1024
)

// version distinguishes a file from all others that have had its path.
type version struct {
	dev, ino    uint64
	mtime, size int64
}

func versionOf(st fs.FileInfo) version {
	v := version{mtime: st.ModTime().UnixNano(), size: st.Size()}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		v.dev, v.ino = sys.Dev, sys.Ino
	}
	return v
}

// doubt records the failed fsyncs of a directory.
type doubt struct {
	failures int
	since    time.Time // first failure, by the file system's clock; zero: from the beginning
}

// settle makes an object durable before it is shown to a caller who may rely on it. It does
// nothing for objects that this process knows to be durable, and for old objects.
func (s *Store) settle(c *call, key string, st fs.FileInfo, now time.Time) error {
	if s.readOnly || s.clock == "" || s.isKnown(key, st) {
		return nil
	}
	dir := filepath.Dir(s.path(key))
	d := s.doubtOf(dir)
	if d.failures > 0 {
		now = d.since
	}
	if at := changed(st); !now.IsZero() && !at.IsZero() && now.Sub(at) > settledAge {
		return nil
	}
	if err := s.makeDirs(c, dir); err != nil {
		return err
	}
	if d.failures > 0 {
		return s.rewrite(c, key)
	}
	return s.syncObject(c, key, st)
}

// changed returns the time when the file got its name: link and rename set the inode's
// change time.
func changed(st fs.FileInfo) time.Time {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return time.Time{}
	}
	return time.Unix(sys.Ctim.Unix())
}

// syncObject syncs a file that another process wrote, and its directory. The errors of that
// process's own fsyncs are unknown: see the package comment.
func (s *Store) syncObject(c *call, key string, st fs.FileInfo) error {
	path := s.path(key)
	dir := filepath.Dir(path)
	err := c.do("fsync", path, func() error {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
	if absent(err) {
		return s.missing(c)
	}
	if err != nil && !left(err) {
		// The kernel may have marked its pages clean, so its bytes must be written again.
		s.failedIn(c, dir)
	}
	if err != nil {
		return err
	}
	// After a failure since the stat, the next call writes the object again.
	return s.withDirLock(c, dir, func() error {
		if s.doubtOf(dir).failures > 0 {
			return errUnsynced
		}
		if err := s.syncDir(c, dir); err != nil {
			return err
		}
		s.know(key, st)
		return nil
	})
}

func (s *Store) isKnown(key string, st fs.FileInfo) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.known[key]
	return ok && v == versionOf(st)
}

func (s *Store) know(key string, st fs.FileInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= maxKnown {
		clear(s.known)
	}
	s.known[key] = versionOf(st)
}

// failedIn records a failed fsync of the directory, or of a file in it: recent files in it
// are written again before they count as durable.
func (s *Store) failedIn(c *call, dir string) {
	now := s.now(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.doubts[dir]
	switch {
	case !ok && len(s.doubts) >= maxDoubts: // from now on one doubt covers all directories
		dir, d = everyDir, s.doubts[everyDir]
	case !ok:
		d.since = now
	}
	d.failures++
	s.doubts[dir] = d
}

// everyDir is the key that covers all directories.
const everyDir = ""

func (s *Store) doubtOf(dir string) doubt {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, every := s.doubts[dir], s.doubts[everyDir]
	if every.failures > 0 {
		d.since = every.since
	}
	d.failures += every.failures
	return d
}
