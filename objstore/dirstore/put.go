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

var errBelow = fmt.Errorf("%w: other keys lie below it", objstore.ErrKey)

// Put writes a temporary file, syncs it, and gives it its name: by link when the key
// must be free (link never replaces), else by rename under the root's lock. Where the
// key is taken, the object that has it is durable before the answer is ErrExist.
func (s *Store) Put(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions) (objstore.Info, error) {
	return run(ctx, s, "put", key, nil, func(c *call) (objstore.Info, error) {
		info, err := s.put(c, key, body, opt, s.now(c))
		// The time of the answer, not of the question: whoever was held up in between, by a
		// server that hung or by sleep, has to see that it was.
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
	if s.clock == "" {
		return objstore.Info{}, fmt.Errorf("%w: the directory is not writable", objstore.ErrDenied)
	}
	temp, err := s.createTemp(c)
	if err != nil {
		return objstore.Info{}, err
	}
	info, err = s.place(c, temp, key, body, opt, now)
	// After a rename the temporary name is gone.
	err = errors.Join(err, s.closeTemp(c, temp, err != nil || opt.IfAbsent))
	if errors.Is(err, objstore.ErrExist) {
		err = s.taken(c, key, now, err)
	}
	return info, err
}

// taken makes the object durable that has the key: ErrExist says that it is there, and
// for bytes that are the same, or for a put that took effect unseen, that is success.
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
	// The fraction below a millisecond is chosen at random, so that two versions of an
	// object never have the same ETag (see etag), not even after removal.
	stamp := now.Truncate(time.Millisecond).Add(rand.N(time.Millisecond))
	if err := c.do("attributes", temp.Name(), func() error { return setTime(temp.Name(), stamp) }); err != nil {
		return objstore.Info{}, err
	}
	if err := c.do("fsync", temp.Name(), temp.Sync); err != nil {
		return objstore.Info{}, err // the kernel may take its pages for clean: it is never given a name
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

// name gives the file its key, and makes the directories that are missing.
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
	if errors.Is(err, unix.ENOENT) { // somebody removed a directory by hand: what we remember is wrong
		s.forget()
		err = try()
	}
	if errors.Is(err, unix.ENOENT) && errors.Is(s.missing(c), objstore.ErrNoBucket) {
		return objstore.ErrNoBucket
	}
	return err
}

// link is atomic and fails when the name is taken.
func link(c *call, temp *os.File, target string) error {
	err := c.do("link", target, func() error { return os.Link(temp.Name(), target) })
	switch {
	case errors.Is(err, unix.EEXIST):
		// NFS repeats a link whose answer got lost, and then says EEXIST of our own.
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
			return fmt.Errorf("%w: the file system has neither links nor rename without replacing", objstore.ErrUnsupported)
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
		if !stamp.After(old.ModTime()) { // ETags of a key must go up
			if err := setTime(temp.Name(), old.ModTime().Add(1)); err != nil {
				return err
			}
		}
	}
	return c.do("rename", target, func() error { return os.Rename(temp.Name(), target) })
}
