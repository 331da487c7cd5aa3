package dirstore

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lock excludes every other replacement or removal of an object in the root: flock
// among processes, a channel among the goroutines that share the file. It is held
// for a few system calls, never while data is written or synced.
type lock struct {
	file *os.File
	turn chan struct{}
}

// closePatience is how long close waits for the calls that use the lock.
const closePatience = 5 * time.Second

func newLock(file *os.File) *lock { return &lock{file: file, turn: make(chan struct{}, 1)} }

// with runs fn while the lock is held.
func (l *lock) with(c *call, fn func() error) (err error) {
	select {
	case l.turn <- struct{}{}:
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
	defer func() { <-l.turn }()
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

// take locks the file that lies at the path now: a disk that was mounted over the root
// has brought its own, and that is the one that others lock.
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

// close leaves the file to the end of the process if a call that hangs still uses it.
func (l *lock) close() error {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
		return l.file.Close()
	case <-time.After(closePatience):
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
