// Package dirstore is the objstore driver on a directory: an object is a file, its
// key the path below the root. What Put acknowledged has been synced, file and
// directories. Several processes and, over NFS, several hosts may use one root.
package dirstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"backupd/objstore"
)

// hidden is the directory in the root for what is not an object: temporary files,
// the lock, the clock. Its absence shows that the root is another one than at Open,
// as when a disk is no longer mounted.
const hidden = ".objstore"

// staleTemp is the age at which a temporary file can only be a leftover of a process
// that ended in the middle of a put.
const staleTemp = 24 * time.Hour

// maxSynced bounds the memory of which directories are known to be durable.
const maxSynced = 4096

// Store is a directory.
type Store struct {
	root  string
	page  int
	clock string // a file's path; "" when the root is read-only: no store time, no puts
	lock  *lock

	mu     sync.Mutex
	synced map[string]struct{} // directories whose entry in their parent is durable
}

var _ objstore.Store = (*Store)(nil)

// Open opens the root, and makes it (0700) when only its last part is missing: a
// parent that is missing is taken for a disk that is not mounted, ErrNoBucket. On a
// read-only file system reading works and puts are ErrDenied. Close frees the files.
func Open(root string) (*Store, error) {
	s := &Store{root: filepath.Clean(root), page: defaultPage, synced: make(map[string]struct{})}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open directory %s: %w", root, err)
	}
	return s, nil
}

func (s *Store) open() error {
	if !filepath.IsAbs(s.root) {
		return errors.New("path is not absolute")
	}
	info, err := os.Stat(s.root)
	if errors.Is(err, fs.ErrNotExist) {
		err = makeRoot(s.root)
	} else if err == nil && !info.IsDir() {
		err = unix.ENOTDIR
	}
	if err != nil {
		return outcome(err)
	}
	switch err := s.openHidden(); {
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		s.clock, s.lock = "", nil
		return nil
	case err != nil:
		return outcome(err)
	}
	return s.sweep()
}

func makeRoot(root string) error {
	err := os.Mkdir(root, 0o700)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s", objstore.ErrNoBucket, filepath.Dir(root))
	case err != nil && !errors.Is(err, fs.ErrExist):
		return err
	}
	return syncDir(filepath.Dir(root))
}

func (s *Store) openHidden() error {
	dir := s.path(hidden)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	lockFile, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	clock, err := os.OpenFile(filepath.Join(dir, "clock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = clock.Close()
	}
	if err != nil {
		return errors.Join(err, lockFile.Close())
	}
	s.clock, s.lock = clock.Name(), newLock(lockFile)
	return nil
}

// sweep removes what crashed puts left behind.
func (s *Store) sweep() error {
	now := s.now()
	files, err := filepath.Glob(filepath.Join(s.path(hidden), tempPattern))
	if err != nil {
		return err
	}
	for _, file := range files {
		info, err := os.Lstat(file)
		if err != nil || now.IsZero() || now.Sub(info.ModTime()) < staleTemp {
			continue // gone meanwhile, or in use
		}
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return outcome(err)
		}
	}
	return nil
}

// Close frees the lock file. Puts under way fail.
func (s *Store) Close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.close()
}

// now is the file system's clock: the time that it gives to a file touched now. On
// NFS that is the server's, the same for all hosts. Two system calls; zero when the
// file system is read-only.
func (s *Store) now() time.Time {
	if s.clock == "" {
		return time.Time{}
	}
	if err := utimens(s.clock, unix.Timespec{Nsec: unix.UTIME_OMIT}, unix.Timespec{Nsec: unix.UTIME_NOW}); err != nil {
		return time.Time{}
	}
	info, err := os.Stat(s.clock)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

func (s *Store) path(key string) string { return filepath.Join(s.root, filepath.FromSlash(key)) }

// check refuses a call that need not reach the disk.
func (s *Store) check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := objstore.CheckKey(key); err != nil {
		return err
	}
	if isHidden(key) {
		return fmt.Errorf("%w: %s/ is the store's own", objstore.ErrKey, hidden)
	}
	return nil
}
