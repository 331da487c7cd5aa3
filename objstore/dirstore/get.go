package dirstore

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/objstore"
)

// Get opens the file. A concurrent replacement does not change the bytes read. The object
// has been made durable, as in Stat.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	drop := func(o *objstore.Object) { _ = o.Close() } // nothing was written
	return run(ctx, s, "get", key, drop, func(c *call) (*objstore.Object, error) {
		now := s.now(c)
		obj, err := s.get(ctx, c, key, off, n, now)
		if err != nil {
			return nil, failed("get", key, now, err)
		}
		obj.StoreTime = now
		return obj, nil
	})
}

func (s *Store) get(ctx context.Context, c *call, key string, off, n int64, now time.Time) (*objstore.Object, error) {
	if err := s.check(c.ctx, key); err != nil {
		return nil, err
	}
	f, err := openFile(c, s.path(key))
	if absent(err) {
		return nil, s.missing(c)
	}
	if err != nil {
		return nil, err
	}
	obj, err := s.openSpan(ctx, c, f, key, off, n, now)
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return obj, nil
}

// openFile opens for reading. O_NONBLOCK avoids blocking on a FIFO.
func openFile(c *call, path string) (f *os.File, err error) {
	err = c.do("open", path, func() (err error) {
		f, err = os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		return err
	})
	return f, err
}

func (s *Store) openSpan(ctx context.Context, c *call, f *os.File, key string, off, n int64, now time.Time) (*objstore.Object, error) {
	st, err := statFile(f)
	if err != nil {
		return nil, err
	}
	if err := s.settle(c, key, st, now); err != nil {
		return nil, err
	}
	info := fileInfo(st, key)
	start, length, err := objstore.Span(off, n, info.Size)
	if err != nil {
		return nil, err
	}
	return &objstore.Object{Info: info, ReadCloser: &body{s: s, ctx: ctx, key: key, f: f, off: start, rest: length}}, nil
}

// Stat reads the file's inode and follows symbolic links, as Get does. The object has been
// made durable, because the caller may write the next commit on top of it.
func (s *Store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	return run(ctx, s, "stat", key, nil, func(c *call) (objstore.Info, error) {
		now := s.now(c)
		info, err := s.stat(c, key, now)
		if err != nil {
			return objstore.Info{}, failed("stat", key, now, err)
		}
		info.StoreTime = now
		return info, nil
	})
}

func (s *Store) stat(c *call, key string, now time.Time) (objstore.Info, error) {
	if err := s.check(c.ctx, key); err != nil {
		return objstore.Info{}, err
	}
	var st fs.FileInfo
	err := c.do("stat", s.path(key), func() (err error) {
		st, err = os.Stat(s.path(key))
		return err
	})
	switch {
	case absent(err), err == nil && !st.Mode().IsRegular():
		return objstore.Info{}, s.missing(c)
	case err == nil:
		err = s.settle(c, key, st, now)
	}
	if err != nil {
		return objstore.Info{}, err
	}
	return fileInfo(st, key), nil
}

func statFile(f *os.File) (fs.FileInfo, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, objstore.ErrNotExist
	}
	return st, nil
}

// fileInfo describes a file. Put gives the versions of a key distinct modification times,
// to the nanosecond, so time and size together identify a version.
func fileInfo(st fs.FileInfo, key string) objstore.Info {
	return objstore.Info{
		Key:      key,
		Size:     st.Size(),
		ETag:     fmt.Sprintf("%x-%x", st.ModTime().UnixNano(), st.Size()),
		Modified: st.ModTime().Truncate(time.Millisecond), // the rest is random, see place
	}
}
