package dirstore

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"backupd/objstore"
)

// Get opens the file. A replacement meanwhile does not change what is read.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	now := s.now()
	obj, err := s.get(ctx, key, off, n)
	if err != nil {
		return nil, failed("get", key, now, err)
	}
	obj.StoreTime = now
	return obj, nil
}

func (s *Store) get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	if err := s.check(ctx, key); err != nil {
		return nil, err
	}
	// O_NONBLOCK: not to hang on a FIFO that somebody put there.
	f, err := os.OpenFile(s.path(key), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if absent(err) {
		return nil, s.missing()
	}
	if err != nil {
		return nil, err
	}
	obj, err := openSpan(ctx, f, key, off, n)
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return obj, nil
}

func openSpan(ctx context.Context, f *os.File, key string, off, n int64) (*objstore.Object, error) {
	info, err := statFile(f, key)
	if err != nil {
		return nil, err
	}
	start, length, err := objstore.Span(off, n, info.Size)
	if err != nil {
		return nil, err
	}
	r := &reader{ctx: ctx, key: key, r: io.NewSectionReader(f, start, length)}
	return &objstore.Object{Info: info, ReadCloser: &fileBody{r, f}}, nil
}

// Stat looks at the file's inode, behind a symbolic link too, as Get does.
func (s *Store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	now := s.now()
	if err := s.check(ctx, key); err != nil {
		return objstore.Info{}, failed("stat", key, now, err)
	}
	st, err := os.Stat(s.path(key))
	switch {
	case absent(err), err == nil && !st.Mode().IsRegular():
		err = s.missing()
	case err == nil:
		info := fileInfo(st, key)
		info.StoreTime = now
		return info, nil
	}
	return objstore.Info{}, failed("stat", key, now, err)
}

func statFile(f *os.File, key string) (objstore.Info, error) {
	st, err := f.Stat()
	if err != nil {
		return objstore.Info{}, err
	}
	if !st.Mode().IsRegular() {
		return objstore.Info{}, objstore.ErrNotExist
	}
	return fileInfo(st, key), nil
}

// fileInfo describes a file. Put keeps the modification times of a key's versions
// apart, to the nanosecond; so together with the size they tell versions apart.
func fileInfo(st fs.FileInfo, key string) objstore.Info {
	return objstore.Info{
		Key:      key,
		Size:     st.Size(),
		ETag:     fmt.Sprintf("%x-%x", st.ModTime().UnixNano(), st.Size()),
		Modified: st.ModTime().Truncate(time.Millisecond), // the rest is made up, see place
	}
}

// reader ends when its context does.
type reader struct {
	ctx context.Context // the call's that opened the body
	key string
	r   io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := ended(r.ctx, "get", r.key); err != nil {
		return 0, err
	}
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		err = failed("get", r.key, time.Time{}, err)
	}
	return n, err
}

type fileBody struct {
	io.Reader
	f *os.File
}

func (b *fileBody) Close() error { return b.f.Close() }
