package dirstore

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lock excludes every other replacement or removal of an object in the root: by flock
// between processes, by a channel between the goroutines that share the file. It is held
// for a few system calls, never while data is written or synced.
type lock struct {
	file *os.File
	sem  chan struct{}
}

// closeTimeout is how long close waits for calls that use the lock.
const closeTimeout = 5 * time.Second

func newLock(file *os.File) *lock { return &lock{file: file, sem: make(chan struct{}, 1)} }

// with runs fn while it holds the lock.
func (l *lock) with(c *call, fn func() error) (err error) {
	select {
	case l.sem <- struct{}{}:
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
	defer func() { <-l.sem }()
	if err := c.do("flock", l.file.Name(), l.take); err != nil {
		return err
	}
	defer func() {
		e := c.always("unlock", l.file.Name(), func() error { return flock(l.file, unix.LOCK_UN) })
		if e != nil && err == nil {
			err = e
		}
	}()
	return fn()
}

// take locks the current file at the path: a disk mounted over the root has its own lock
// file, which other processes lock.
func (l *lock) take() error {
	for {
		if err := flock(l.file, unix.LOCK_EX); err != nil {
			return err
		}
		held, err := l.file.Stat()
		if err != nil {
			return err
		}
		there, err := os.Stat(l.file.Name())
		if err == nil && os.SameFile(held, there) {
			return nil
		}
		if err == nil {
			err = l.reopen()
		}
		if err != nil {
			return errors.Join(err, flock(l.file, unix.LOCK_UN))
		}
	}
}

func (l *lock) reopen() error {
	file, err := os.OpenFile(l.file.Name(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = l.file.Close() // which unlocks it
	l.file = file
	return err
}

// close leaves the file open if a hanging call still uses it; the end of the process closes
// it.
func (l *lock) close() error {
	select {
	case l.sem <- struct{}{}:
		defer func() { <-l.sem }()
		return l.file.Close()
	case <-time.After(closeTimeout):
		return nil
	}
}

func flock(f *os.File, how int) error {
	return os.NewSyscallError("flock", retryEINTR(func() error { return unix.Flock(int(f.Fd()), how) }))
}

func retryEINTR(fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
