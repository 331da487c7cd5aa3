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

// failed returns the *objstore.Error for an error of a system call.
func failed(op, key string, now time.Time, err error) error {
	err = outcome(err)
	return &objstore.Error{Op: op, Key: key, StoreTime: now, Temporary: isTransient(err), Err: err}
}

// outcome wraps a system error in its sentinel, if it has one.
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

// isTransient reports whether the error may end by itself. EIO is such an error: a soft NFS
// mount returns it while the server is unreachable. Retrying after a failed fsync is safe:
// each put writes a new file, and doubtful objects are written again.
func isTransient(err error) bool {
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

// missing distinguishes a missing object from a missing root.
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

// absent reports whether the error means that no object has the key: nothing exists there,
// or a file where the key has a directory.
func absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
}

// ended returns the *objstore.Error for an ended context, otherwise nil.
func ended(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return &objstore.Error{Op: op, Key: key, Err: err}
	}
	return nil
}
