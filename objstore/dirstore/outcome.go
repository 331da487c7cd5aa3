package dirstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/objstore"
)

// failed gives the *objstore.Error of a system call's error.
func failed(op, key string, now time.Time, err error) error {
	err = outcome(err)
	return &objstore.Error{Op: op, Key: key, StoreTime: now, Temporary: passes(err), Err: err}
}

// outcome puts the sentinel in front of a system error that has one.
func outcome(err error) error {
	for _, own := range []error{objstore.ErrNotExist, objstore.ErrExist, objstore.ErrPrecondition, objstore.ErrRange,
		objstore.ErrDenied, objstore.ErrNoBucket, objstore.ErrUnsupported, objstore.ErrKey} {
		if errors.Is(err, own) {
			return err
		}
	}
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w: %w", objstore.ErrNoSpace, err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w: %w", objstore.ErrDenied, err)
	case errors.Is(err, unix.ENAMETOOLONG), errors.Is(err, unix.EILSEQ):
		return fmt.Errorf("%w: %w", objstore.ErrKey, err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: %w", objstore.ErrUnsupported, err)
	}
	return err
}

// passes says whether the error may go away by itself. EIO is among them: a soft NFS
// mount answers it for a server that is away. Trying again after a failed fsync is
// sound: each put writes a file of its own, and what is in doubt is written again.
func passes(err error) bool {
	for _, own := range []error{objstore.ErrNoSpace, errHangs, errUnsynced, errReplaced} {
		if errors.Is(err, own) {
			return true
		}
	}
	for _, errno := range []unix.Errno{unix.EIO, unix.ESTALE, unix.ETIMEDOUT, unix.EAGAIN, unix.EBUSY,
		unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EINTR} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// missing tells an object that is not there from a root that is not there.
func (s *Store) missing(c *call) error {
	mark := s.root
	if s.clock != "" {
		mark = s.path(hidden)
	}
	err := c.do("stat", mark, func() error {
		_, err := os.Lstat(mark)
		return err
	})
	if left(err) {
		return err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return objstore.ErrNoBucket
	}
	return objstore.ErrNotExist
}

// absent says whether the error means that no object has the key: nothing there, or
// a file where the key has a directory.
func absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
}

// ended gives the *objstore.Error of a context that has ended, and nil otherwise.
func ended(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return &objstore.Error{Op: op, Key: key, Err: err}
	}
	return nil
}
