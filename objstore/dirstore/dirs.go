package dirstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// makeDirs makes a directory below the root and its parents, and sees to it that
// their entries are durable, also those that another process made and may not yet
// have synced: each directory is synced into its parent once by every process.
func (s *Store) makeDirs(dir string) error {
	if dir == s.root || s.isSynced(dir) {
		return nil
	}
	if err := s.makeDirs(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.synced) >= maxSynced {
		clear(s.synced)
	}
	s.synced[dir] = struct{}{}
	return nil
}

func (s *Store) isSynced(dir string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.synced[dir]
	return ok
}

func (s *Store) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.synced)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
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
