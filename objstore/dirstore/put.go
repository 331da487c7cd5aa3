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

func (s *Store) createTemp(c *call) (temp *os.File, err error) {
	err = c.do("create", s.path(hidden), func() (err error) {
		temp, err = os.CreateTemp(s.path(hidden), tempPattern) // 0600
		return err
	})
	if absent(err) {
		err = s.missing(c)
	}
	return temp, err
}

// closeTemp closes the file, and removes its first name. That this fails is no error of
// a put, whose outcome is decided: sweep finds what stays.
func (s *Store) closeTemp(c *call, temp *os.File, remove bool) error {
	if remove {
		_ = c.always("unlink", temp.Name(), func() error { return os.Remove(temp.Name()) })
	}
	return c.always("close", temp.Name(), temp.Close)
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

// fill copies the body by way of a buffer of its own: a call that was given up must not
// write what the caller's memory holds by then.
func fill(c *call, temp *os.File, body objstore.Body) error {
	size := body.Size()
	buf := make([]byte, min(size, readAtMost))
	for off := int64(0); off < size; {
		part := buf[:min(int64(len(buf)), size-off)]
		n, err := c.readBody(func() (int, error) { return body.ReadAt(part, off) })
		if n < len(part) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("body: %w", err)
		}
		if _, err := (stepWriter{c, temp}).Write(part); err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

// stepWriter writes to a file by the call's system calls.
type stepWriter struct {
	c *call
	f *os.File
}

func (w stepWriter) Write(p []byte) (n int, err error) {
	err = w.c.do("write", w.f.Name(), func() (err error) {
		n, err = w.f.Write(p)
		return err
	})
	return n, err
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

// Delete removes the file. Directories stay: removing them would race with puts. An
// object that is absent may be one whose removal was not synced: so that is done.
func (s *Store) Delete(ctx context.Context, key string) error {
	_, err := run(ctx, s, "delete", key, nil, func(c *call) (struct{}, error) {
		now := s.now(c)
		err := s.delete(c, key)
		if err != nil {
			err = failed("delete", key, now, err)
		}
		return struct{}{}, err
	})
	return err
}

func (s *Store) delete(c *call, key string) error {
	if err := s.check(c.ctx, key); err != nil {
		return err
	}
	if s.clock == "" {
		return objstore.ErrDenied
	}
	path := s.path(key)
	err := s.syncAfter(c, filepath.Dir(path), func() error {
		return s.lock.with(c, func() error {
			err := c.do("unlink", path, func() error { return unix.Unlink(path) })
			if errors.Is(err, unix.ENOENT) {
				return nil
			}
			return err
		})
	})
	if errors.Is(err, unix.EISDIR) {
		return nil
	}
	if absent(err) {
		if err = s.missing(c); errors.Is(err, objstore.ErrNotExist) {
			return nil
		}
	}
	return err
}
