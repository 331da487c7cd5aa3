package dirstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// errUnsynced: an fsync of the directory failed in another call. It is temporary.
var errUnsynced = errors.New("the directory could not be synced")

// makeDirs makes a directory below the root and its parents, and sees to it that
// their entries are durable, also those that another process made and may not yet
// have synced: each directory is synced into its parent once by every process.
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
	return s.inTurn(c, filepath.Dir(dir), func() error { return s.makeDir(c, dir) })
}

// makeDir makes one directory in its synced parent; the parent's turn is held.
func (s *Store) makeDir(c *call, dir string) error {
	if s.isSynced(dir) { // meanwhile
		return nil
	}
	parent := filepath.Dir(dir)
	if s.doubtOf(parent).failures > 0 {
		// The entry may be one that a failed fsync dropped, so it is made again. One
		// that is not empty was filled after its entry had been synced.
		if err := c.do("rmdir", dir, func() error { return unix.Rmdir(dir) }); err != nil && c.ctx.Err() != nil {
			return err
		}
	}
	err := c.do("mkdir", dir, func() error { return os.Mkdir(dir, 0o700) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := s.syncDir(c, parent); err != nil {
		return err
	}
	s.markSynced(dir)
	return nil
}

// syncRoot syncs the root's entry, which this process or one that was killed may have
// made. A parent that may not be read is the administrator's, and so is the root then.
func (s *Store) syncRoot(c *call) error {
	parent := filepath.Dir(s.root)
	err := s.inTurn(c, parent, func() error { return s.syncDir(c, parent) })
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

// turn lets one call at a time make entries in a directory and sync it: an entry that
// was made before the failed fsync of another call may be dropped by it, and a later
// fsync would succeed nevertheless.
type turn struct {
	taken chan struct{}
	users int // guarded by Store.mu
}

// inTurn runs fn in the turn of the directory.
func (s *Store) inTurn(c *call, dir string, fn func() error) error {
	s.mu.Lock()
	t := s.turns[dir]
	if t == nil {
		t = &turn{taken: make(chan struct{}, 1)}
		s.turns[dir] = t
	}
	t.users++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(s.turns, dir)
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

// syncAfter makes an entry and syncs its directory. The turn is not held while the entry
// is made, which may have to wait for the root's lock.
func (s *Store) syncAfter(c *call, dir string, enter func() error) error {
	before := s.doubtOf(dir).failures
	if err := enter(); err != nil {
		return err
	}
	return s.inTurn(c, dir, func() error {
		if err := s.syncDir(c, dir); err != nil {
			return err
		}
		if s.doubtOf(dir).failures != before {
			return errUnsynced
		}
		return nil
	})
}

// syncDir makes the directory's entries durable; its turn is held. After an error
// they are in doubt.
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
