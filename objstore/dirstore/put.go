package dirstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/objstore"
)

var errBelow = fmt.Errorf("%w: it is a directory with other keys", objstore.ErrKey)

// Put writes a temporary file, syncs it, and gives it its name: by link if the key must be
// free (link never replaces), else by rename under the root's lock. If the key is taken,
// the existing object is made durable before Put returns ErrExist.
func (s *Store) Put(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions) (objstore.Info, error) {
	return run(ctx, s, "put", key, nil, func(c *call) (objstore.Info, error) {
		info, err := s.put(c, key, body, opt, s.now(c))
		// Use the time of the answer, not of the request, so that a caller who was delayed
		// in between, by a hanging server or by sleep, notices the delay.
		now := s.now(c)
		if err != nil {
			return objstore.Info{}, failed("put", key, now, err)
		}
		info.StoreTime = now
		return info, nil
	})
}

func (s *Store) put(c *call, key string, body objstore.Body, opt objstore.PutOptions, now time.Time) (info objstore.Info, err error) {
	if err := s.check(c.ctx, key); err != nil {
		return objstore.Info{}, err
	}
	if s.readOnly || s.clock == "" {
		return objstore.Info{}, fmt.Errorf("%w: the directory is not writable", objstore.ErrDenied)
	}
	temp, err := s.createTemp(c)
	if err != nil {
		return objstore.Info{}, err
	}
	info, err = s.place(c, temp, key, body, opt, now)
	// After a rename the temporary name no longer exists.
	err = errors.Join(err, s.closeTemp(c, temp, err != nil || opt.IfAbsent))
	if errors.Is(err, objstore.ErrExist) {
		err = s.taken(c, key, now, err)
	}
	return info, err
}

// taken makes the object with the key durable: ErrExist states that it exists, and if the
// bytes are equal, or the put took effect unseen, that means success.
func (s *Store) taken(c *call, key string, now time.Time, exist error) error {
	_, err := s.stat(c, key, now)
	if err != nil && !errors.Is(err, objstore.ErrNotExist) { // removed meanwhile
		return err
	}
	return exist
}

func (s *Store) place(c *call, temp *os.File, key string, body objstore.Body, opt objstore.PutOptions, now time.Time) (objstore.Info, error) {
	if err := fill(c, temp, body); err != nil {
		return objstore.Info{}, err
	}
	// The fraction below a millisecond is random, so that two versions of an object never
	// have the same ETag (see etag), not even after removal.
	stamp := now.Truncate(time.Millisecond).Add(rand.N(time.Millisecond))
	if err := c.do("attributes", temp.Name(), func() error { return setTime(temp.Name(), stamp) }); err != nil {
		return objstore.Info{}, err
	}
	if err := c.do("fsync", temp.Name(), temp.Sync); err != nil {
		return objstore.Info{}, err // the kernel may have marked its pages clean: never name the file
	}
	if err := s.name(c, temp, key, opt, stamp); err != nil {
		return objstore.Info{}, err
	}
	st, err := statFile(temp)
	if err != nil {
		return objstore.Info{}, err
	}
	s.know(key, st)
	return fileInfo(st, key), nil
}

// name gives the file its key and makes missing directories.
func (s *Store) name(c *call, temp *os.File, key string, opt objstore.PutOptions, stamp time.Time) error {
	target := s.path(key)
	dir := filepath.Dir(target)
	try := func() error {
		if err := s.makeDirs(c, dir); err != nil {
			return err
		}
		return s.syncAfter(c, dir, func() error {
			if opt.IfAbsent {
				return link(c, temp, target)
			}
			return s.lock.with(c, func() error { return replace(c, temp, target, key, opt, stamp) })
		})
	}
	err := try()
	if errors.Is(err, unix.ENOENT) { // somebody removed a directory by hand: forget the remembered directories
		s.forget()
		err = try()
	}
	if errors.Is(err, unix.ENOENT) && errors.Is(s.missing(c), objstore.ErrNoBucket) {
		return objstore.ErrNoBucket
	}
	return err
}

// link is atomic and fails if the name is taken.
func link(c *call, temp *os.File, target string) error {
	err := c.do("link", target, func() error { return os.Link(temp.Name(), target) })
	switch {
	case errors.Is(err, unix.EEXIST):
		// NFS repeats a link whose answer was lost, and then returns EEXIST for the file's
		// own name.
		var st unix.Stat_t
		if unix.Fstat(int(temp.Fd()), &st) == nil && st.Nlink == 2 {
			return nil
		}
		if old, err := os.Lstat(target); err == nil && old.IsDir() {
			return errBelow
		}
		return objstore.ErrExist
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EOPNOTSUPP): // a file system without links
		err = c.do("rename", target, func() error {
			return unix.Renameat2(unix.AT_FDCWD, temp.Name(), unix.AT_FDCWD, target, unix.RENAME_NOREPLACE)
		})
		if errors.Is(err, unix.EEXIST) {
			return objstore.ErrExist
		}
		if errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("%w: the file system has neither hard links nor rename without replacing", objstore.ErrUnsupported)
		}
	}
	return err
}

// replace compares and renames; the caller holds the lock.
func replace(c *call, temp *os.File, target, key string, opt objstore.PutOptions, stamp time.Time) error {
	old, err := os.Stat(target)
	switch {
	case absent(err):
		if opt.IfMatch != "" {
			return objstore.ErrPrecondition
		}
	case err != nil:
		return err
	case old.IsDir():
		return errBelow
	default:
		if opt.IfMatch != "" && fileInfo(old, key).ETag != opt.IfMatch {
			return objstore.ErrPrecondition
		}
		if !stamp.After(old.ModTime()) { // ETags of a key must increase
			if err := setTime(temp.Name(), old.ModTime().Add(1)); err != nil {
				return err
			}
		}
	}
	return c.do("rename", target, func() error { return os.Rename(temp.Name(), target) })
}
