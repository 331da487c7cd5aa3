package dirstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// errUnsynced means that an fsync of the directory failed in another call. It is temporary.
var errUnsynced = errors.New("the directory could not be synced")

// makeDirs makes a directory below the root and its parents and makes their entries
// durable. Another process may have created them without a sync, so every process syncs
// each directory into its parent once.
func (s *Store) makeDirs(c *call, dir string) error {
	if s.isSynced(dir) {
		return nil
	}
	if dir == s.root {
		return s.syncRoot(c)
	}
	if err := s.makeDirs(c, filepath.Dir(dir)); err != nil {
		return err
	}
	return s.withDirLock(c, filepath.Dir(dir), func() error { return s.makeDir(c, dir) })
}

// makeDir makes one directory in its synced parent. The caller holds the parent's mutex.
func (s *Store) makeDir(c *call, dir string) error {
	if s.isSynced(dir) { // by another call meanwhile
		return nil
	}
	parent := filepath.Dir(dir)
	if s.doubtOf(parent).failures > 0 {
		// A failed fsync may have dropped the entry, so it is made again. A directory that
		// is not empty was filled after its entry had been synced.
		if err := c.do("rmdir", dir, func() error { return unix.Rmdir(dir) }); err != nil && c.ctx.Err() != nil {
			return err
		}
	}
	err := s.mkdir(c, dir)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := s.syncDir(c, parent); err != nil {
		return err
	}
	s.markSynced(dir)
	return nil
}

// syncRoot syncs the root's entry, which this process or a killed one may have made. If the
// parent is unreadable, the administrator made it, and then also the root.
func (s *Store) syncRoot(c *call) error {
	parent := filepath.Dir(s.root)
	err := s.withDirLock(c, parent, func() error { return s.syncDir(c, parent) })
	if err != nil && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
		return err
	}
	s.markSynced(s.root)
	return nil
}

func (s *Store) isSynced(dir string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.synced[dir]
	return ok
}

func (s *Store) markSynced(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.synced) >= maxSynced {
		clear(s.synced)
	}
	s.synced[dir] = struct{}{}
}

func (s *Store) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.synced)
}

// dirLock lets one call at a time make entries in a directory and sync it. Without it, the
// failed fsync of one call could drop the entry of another call, whose own fsync would then
// succeed.
type dirLock struct {
	taken chan struct{}
	users int // guarded by Store.mu
}

// withDirLock runs fn while it holds the directory's lock.
func (s *Store) withDirLock(c *call, dir string, fn func() error) error {
	s.mu.Lock()
	t := s.dirLocks[dir]
	if t == nil {
		t = &dirLock{taken: make(chan struct{}, 1)}
		s.dirLocks[dir] = t
	}
	t.users++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(s.dirLocks, dir)
		}
	}()
	select {
	case t.taken <- struct{}{}:
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
	defer func() { <-t.taken }()
	return fn()
}

// syncAfter makes an entry and syncs its directory. The directory's lock is not held while
// the entry is made, because that may have to wait for the root's lock.
func (s *Store) syncAfter(c *call, dir string, enter func() error) error {
	before := s.doubtOf(dir).failures
	if err := enter(); err != nil {
		return err
	}
	return s.withDirLock(c, dir, func() error {
		if err := s.syncDir(c, dir); err != nil {
			return err
		}
		if s.doubtOf(dir).failures != before {
			return errUnsynced
		}
		return nil
	})
}

// syncDir makes the directory's entries durable. The caller holds the directory's lock.
// After an error the entries may be lost.
func (s *Store) syncDir(c *call, dir string) error {
	opened := true
	err := c.do("fsync", dir, func() error {
		d, err := os.Open(dir)
		if err != nil {
			opened = false
			return err
		}
		return errors.Join(d.Sync(), d.Close())
	})
	if err != nil && opened && !left(err) {
		s.failedIn(c, dir)
	}
	return err
}

func setTime(file string, t time.Time) error {
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	return utimens(file, ts, ts)
}

func utimens(file string, atime, mtime unix.Timespec) error {
	return retryEINTR(func() error {
		return unix.UtimesNanoAt(unix.AT_FDCWD, file, []unix.Timespec{atime, mtime}, 0)
	})
}
