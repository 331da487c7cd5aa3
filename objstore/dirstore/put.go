package dirstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"backupd/objstore"
)

const tempPattern = "put-*"

var errBelow = fmt.Errorf("%w: other keys lie below it", objstore.ErrKey)

// Put writes a temporary file, syncs it, and gives it its name: by link when the key
// must be free (link never replaces), else by rename under the root's lock.
func (s *Store) Put(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions) (objstore.Info, error) {
	info, err := s.put(ctx, key, body, opt, s.now())
	// The time of the answer, not of the question: whoever was held up in between, by a
	// server that hung or by sleep, has to see that it was.
	now := s.now()
	if err != nil {
		return objstore.Info{}, failed("put", key, now, err)
	}
	info.StoreTime = now
	return info, nil
}

func (s *Store) put(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions, now time.Time) (objstore.Info, error) {
	if err := s.check(ctx, key); err != nil {
		return objstore.Info{}, err
	}
	if s.clock == "" {
		return objstore.Info{}, fmt.Errorf("%w: the directory is not writable", objstore.ErrDenied)
	}
	temp, err := os.CreateTemp(s.path(hidden), tempPattern) // 0600
	if absent(err) {
		return objstore.Info{}, s.missing()
	}
	if err != nil {
		return objstore.Info{}, err
	}
	info, err := s.place(ctx, temp, key, body, opt, now)
	if err != nil || opt.IfAbsent { // after a rename the temporary name is gone
		// Not an error of the put, whose outcome is decided: sweep finds what stays.
		_ = os.Remove(temp.Name())
	}
	return info, errors.Join(err, temp.Close())
}

func (s *Store) place(ctx context.Context, temp *os.File, key string, body objstore.Body, opt objstore.PutOptions, now time.Time) (objstore.Info, error) {
	if err := fill(ctx, temp, body); err != nil {
		return objstore.Info{}, err
	}
	// The fraction below a millisecond is chosen at random, so that two versions of an
	// object never have the same ETag (see etag), not even after removal.
	stamp := now.Truncate(time.Millisecond).Add(rand.N(time.Millisecond))
	if err := setTime(temp.Name(), stamp); err != nil {
		return objstore.Info{}, err
	}
	if err := temp.Sync(); err != nil {
		return objstore.Info{}, err
	}
	if err := ctx.Err(); err != nil {
		return objstore.Info{}, err
	}
	if err := s.name(ctx, temp, key, opt, stamp); err != nil {
		return objstore.Info{}, err
	}
	if err := syncDir(filepath.Dir(s.path(key))); err != nil {
		return objstore.Info{}, err
	}
	return statFile(temp, key)
}

func fill(ctx context.Context, temp *os.File, body objstore.Body) error {
	r := &reader{ctx: ctx, r: io.NewSectionReader(body, 0, body.Size())}
	n, err := io.Copy(temp, r)
	switch {
	case err != nil:
		return err
	case n != body.Size():
		return fmt.Errorf("body: %w", io.ErrUnexpectedEOF)
	}
	return nil
}

// name gives the file its key, and makes the directories that are missing.
func (s *Store) name(ctx context.Context, temp *os.File, key string, opt objstore.PutOptions, stamp time.Time) error {
	target := s.path(key)
	try := func() error {
		if err := s.makeDirs(filepath.Dir(target)); err != nil {
			return err
		}
		if opt.IfAbsent {
			return link(temp, target)
		}
		return s.lock.with(ctx, func() error { return replace(temp, target, key, opt, stamp) })
	}
	err := try()
	if errors.Is(err, unix.ENOENT) { // somebody removed a directory by hand: what we remember is wrong
		s.forget()
		err = try()
	}
	if errors.Is(err, unix.ENOENT) && errors.Is(s.missing(), objstore.ErrNoBucket) {
		return objstore.ErrNoBucket
	}
	return err
}

// link is atomic and fails when the name is taken.
func link(temp *os.File, target string) error {
	err := os.Link(temp.Name(), target)
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
		err = unix.Renameat2(unix.AT_FDCWD, temp.Name(), unix.AT_FDCWD, target, unix.RENAME_NOREPLACE)
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
func replace(temp *os.File, target, key string, opt objstore.PutOptions, stamp time.Time) error {
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
	return os.Rename(temp.Name(), target)
}

// Delete removes the file. Directories stay: removing them would race with puts.
func (s *Store) Delete(ctx context.Context, key string) error {
	now := s.now()
	err := s.check(ctx, key)
	if err == nil && s.clock == "" {
		err = objstore.ErrDenied
	}
	if err == nil {
		err = s.lock.with(ctx, func() error { return unix.Unlink(s.path(key)) })
	}
	switch {
	case err == nil:
		err = syncDir(filepath.Dir(s.path(key)))
	case errors.Is(err, unix.EISDIR):
		err = nil
	case absent(err):
		if err = s.missing(); errors.Is(err, objstore.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		return failed("delete", key, now, err)
	}
	return nil
}
