package dirstore

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// lock excludes every other replacement or removal of an object in the root: flock
// among processes, a channel among the goroutines that share the file. It is held
// for a few system calls, never while data is written or synced.
type lock struct {
	file *os.File
	turn chan struct{}
}

func newLock(file *os.File) *lock { return &lock{file: file, turn: make(chan struct{}, 1)} }

// with runs fn while the lock is held.
func (l *lock) with(ctx context.Context, fn func() error) (err error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-l.turn }()
	fd := int(l.file.Fd())
	if err := retryEINTR(func() error { return unix.Flock(fd, unix.LOCK_EX) }); err != nil {
		return os.NewSyscallError("flock", err)
	}
	defer func() {
		if e := unix.Flock(fd, unix.LOCK_UN); e != nil && err == nil {
			err = os.NewSyscallError("flock", e)
		}
	}()
	return fn()
}

func retryEINTR(fn func() error) error {
	for {
		if err := fn(); err != unix.EINTR {
			return err
		}
	}
}
