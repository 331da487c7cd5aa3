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
	// settledAge is the age from which an object is taken for durable, whoever put it:
	// Linux writes what is dirty within half a minute (vm.dirty_expire_centisecs).
	settledAge = time.Hour
	// maxKnown bounds the memory of objects that are known to be durable, maxDoubts that
	// of directories of which an fsync failed.
	maxKnown, maxDoubts = 8192, 1024
)

// version tells one file from every other that has had its path.
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

// doubt is what failed fsyncs of a directory leave.
type doubt struct {
	failures int
	since    time.Time // of the first one, by the file system's clock; zero: from the beginning
}

// settle makes an object durable that is about to be shown to somebody who may build
// on it. It does nothing for objects that this process knows to be durable, and for old ones.
func (s *Store) settle(c *call, key string, st fs.FileInfo, now time.Time) error {
	if s.clock == "" || s.isKnown(key, st) {
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

// changed is when the file got its name: link and rename set the inode's change time.
func changed(st fs.FileInfo) time.Time {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return time.Time{}
	}
	return time.Unix(sys.Ctim.Unix())
}

// syncObject syncs a file that was put by another process, and its directory. The
// errors of that process's own fsyncs are not known here: see the package comment.
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
		// The kernel may take its pages for clean now: its bytes have to be written again.
		s.failedIn(c, dir)
	}
	if err != nil {
		return err
	}
	// A failure since the object was seen leads to the next call, which writes it again.
	return s.inTurn(c, dir, func() error {
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

// failedIn notes that an fsync of the directory, or of a file in it, has failed: what
// was put there of late is written again before it is believed to be durable.
func (s *Store) failedIn(c *call, dir string) {
	now := s.now(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.doubts[dir]
	switch {
	case !ok && len(s.doubts) >= maxDoubts: // from now on it stands for all
		dir, d = everyDir, s.doubts[everyDir]
	case !ok:
		d.since = now
	}
	d.failures++
	s.doubts[dir] = d
}

// everyDir is the key for directories that are not remembered one by one.
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
