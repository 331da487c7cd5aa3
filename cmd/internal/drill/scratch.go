package drill

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"
)

// scratchPrefix begins the name of the directory of a drill, which is removed at its end.
const scratchPrefix = "backup-drill-"

// scratch makes a directory that only this user can read, and locks it. done removes it.
func scratch(parent string) (mail string, done func() error, err error) {
	sweep(parent)
	dir, err := os.MkdirTemp(parent, scratchPrefix)
	if err != nil {
		return "", nil, fmt.Errorf("%w: create the directory, or name another with --scratch", err)
	}
	lock, err := os.Open(dir)
	if err == nil {
		if err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			err = errors.Join(err, lock.Close())
		}
	}
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	// The files are one level deeper, because the restore locks its own directory.
	return filepath.Join(dir, "mail"), func() error { return errors.Join(os.RemoveAll(dir), lock.Close()) }, nil
}

// staleAge is the age of directories that sweep removes. A younger one may not be locked yet.
const staleAge = time.Hour

// sweep removes the remains of killed drills. Whatever it cannot remove belongs to
// another user.
func sweep(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, scratchPrefix+"*"))
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < staleAge {
			continue
		}
		lock, err := os.Open(dir)
		if err != nil {
			continue
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.RemoveAll(dir)
		}
		_ = lock.Close()
	}
}

const (
	perFile    = 4 << 10  // of a file system, beside a message's bytes
	spaceSpare = 64 << 20 // stays free
)

// checkSpace returns an error if the messages do not fit on the disk.
func checkSpace(dir string, messages int, size int64) error {
	var of unix.Statfs_t
	if err := unix.Statfs(dir, &of); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	need, free := size+int64(messages)*perFile+spaceSpare, int64(of.Bavail)*of.Bsize
	if need > free {
		return fmt.Errorf("the files need %s, and %s has %s free: name a larger directory with --scratch",
			humanize.IBytes(uint64(need)), dir, humanize.IBytes(uint64(free)))
	}
	return nil
}
