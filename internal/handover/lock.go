package handover

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lock is a file locked for this process; the kernel unlocks it when the process ends.
type lock struct{ f *os.File }

// errLocked means that another process has the lock.
var errLocked = errors.New("locked by another process")

// tryLock creates and locks the file at path, or returns errLocked. The file is never removed,
// because a lock on a removed file excludes nobody. It contains the pid, for people.
func tryLock(path string) (*lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	// The content is only for people, so errors do not matter.
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return &lock{f}, nil
}

func (l *lock) unlock() error { return l.f.Close() }
