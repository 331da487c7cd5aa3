package miniostore

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/internal/s3keys"
	"github.com/cyrusbackup/backupd/objstore/internal/s3wire"
)

// Put sends the object in one request. Over TLS the payload is unsigned; over plain HTTP
// each chunk is signed.
func (s *Store) Put(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions) (objstore.Info, error) {
	if err := objstore.CheckKey(key); err != nil {
		return objstore.Info{}, &objstore.Error{Op: "put", Key: key, Err: err}
	}
	return s3wire.Put(&s.md5, func(md5 bool) (objstore.Info, error) {
		return s3keys.Try(s.keys, func() (objstore.Info, error) { return s.put(ctx, key, body, opt, md5) })
	})
}

func (s *Store) put(ctx context.Context, key string, body objstore.Body, opt objstore.PutOptions, md5 bool) (objstore.Info, error) {
	o := minio.PutObjectOptions{
		ContentType:          "application/octet-stream",
		SendContentMd5:       md5,
		DisableContentSha256: s.tls,
		DisableMultipart:     true,
	}
	switch {
	case opt.IfAbsent:
		o.SetMatchETagExcept("*")
	case opt.IfMatch != "":
		o.SetMatchETag(opt.IfMatch)
	}
	ctx, date := s3wire.WithDate(ctx)
	r := io.NewSectionReader(body, 0, body.Size())
	out, err := s.core.Client.PutObject(ctx, s.bucket, key, r, body.Size(), o)
	if err != nil {
		return objstore.Info{}, s.failed("put", key, opt, date.Get(), err).Error(ctx)
	}
	return objstore.Info{Key: key, Size: body.Size(), ETag: out.ETag, Modified: date.Get(), StoreTime: date.Get()}, nil
}

// Get opens a range in one request. Ranges that a Range header cannot express need a Stat.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	return s3wire.Get(key, off, n,
		func() (*objstore.Object, error) {
			return s3keys.Try(s.keys, func() (*objstore.Object, error) { return s.get(ctx, key, off, n) })
		},
		func() (objstore.Info, error) { return s.stat(ctx, "get", key) })
}

func (s *Store) get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	var o minio.GetObjectOptions
	if r := s3wire.Range(off, n); r != "" {
		o.Set("Range", r)
	}
	dated, date := s3wire.WithDate(ctx)
	body, info, header, err := s.core.GetObject(dated, s.bucket, key, o)
	if err != nil {
		return nil, s.failed("get", key, objstore.PutOptions{}, date.Get(), err).Error(ctx)
	}
	size, err := s3wire.CheckRange(off, n, header.Get("Content-Range"), info.Size)
	if err != nil {
		return nil, &objstore.Error{Op: "get", Key: key, StoreTime: date.Get(), Err: errors.Join(err, body.Close())}
	}
	return &objstore.Object{
		ReadCloser: &s3wire.Body{Ctx: ctx, Key: key, ReadCloser: body},
		Info:       objstore.Info{Key: key, Size: size, ETag: info.ETag, Modified: info.LastModified, StoreTime: date.Get()},
	}, nil
}

// Stat sends a HEAD.
func (s *Store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	if err := objstore.CheckKey(key); err != nil {
		return objstore.Info{}, &objstore.Error{Op: "stat", Key: key, Err: err}
	}
	return s.stat(ctx, "stat", key)
}

func (s *Store) stat(ctx context.Context, op, key string) (objstore.Info, error) {
	return s3keys.Try(s.keys, func() (objstore.Info, error) {
		return s3wire.Stat(ctx,
			func() (objstore.Info, *s3wire.Failure) { return s.head(ctx, op, key) },
			func() (*objstore.Object, error) { return s.get(ctx, key, 0, -1) })
	})
}

func (s *Store) head(ctx context.Context, op, key string) (objstore.Info, *s3wire.Failure) {
	dated, date := s3wire.WithDate(ctx)
	info, err := s.core.Client.StatObject(dated, s.bucket, key, minio.StatObjectOptions{})
	if err != nil {
		f := s.failed(op, key, objstore.PutOptions{}, date.Get(), err)
		return objstore.Info{}, &f
	}
	return objstore.Info{Key: key, Size: info.Size, ETag: info.ETag, Modified: info.LastModified, StoreTime: date.Get()}, nil
}

// Delete removes the object; in a versioned bucket it leaves a delete marker.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := objstore.CheckKey(key); err != nil {
		return &objstore.Error{Op: "delete", Key: key, Err: err}
	}
	return s.keys.Try(func() error {
		dated, date := s3wire.WithDate(ctx)
		err := s.core.RemoveObject(dated, s.bucket, key, minio.RemoveObjectOptions{})
		if err == nil {
			return nil
		}
		err = s.failed("delete", key, objstore.PutOptions{}, date.Get(), err).Error(ctx)
		if errors.Is(err, objstore.ErrNotExist) {
			return nil
		}
		return err
	})
}

// List requests one page at a time, after the previous page has been consumed.
func (s *Store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return s3wire.InOrder(prefix, func(yield func(objstore.Info, error) bool) {
		after, nothing := s3wire.ListStart(prefix, startAfter)
		if nothing {
			return
		}
		var stopped bool
		err := s.keys.Try(func() error {
			return s.list(ctx, prefix, after, func(info objstore.Info) bool {
				after = info.Key
				stopped = !yield(info, nil)
				return !stopped
			})
		})
		if err != nil && !stopped {
			yield(objstore.Info{}, err)
		}
	})
}

// list yields the objects after a key.
func (s *Store) list(ctx context.Context, prefix, after string, yield func(objstore.Info) bool) error {
	owner := false
	dated, date := s3wire.WithDate(ctx)
	objects := s.core.ListObjectsIter(dated, s.bucket, minio.ListObjectsOptions{
		Prefix: prefix, Recursive: true, StartAfter: after, MaxKeys: s.page, FetchOwner: &owner,
	})
	for o := range objects {
		if o.Err != nil {
			return s.failed("list", prefix, objstore.PutOptions{}, date.Get(), o.Err).Error(ctx)
		}
		info := objstore.Info{Key: o.Key, Size: o.Size, ETag: o.ETag, Modified: o.LastModified, StoreTime: date.Get()}
		if !yield(info) {
			return nil
		}
	}
	// The SDK ends the sequence silently if the context has ended.
	if err := ctx.Err(); err != nil {
		return &objstore.Error{Op: "list", Key: prefix, Err: err}
	}
	return nil
}

// failed converts an SDK error. The SDK invents a status for requests that it refuses
// itself, which is harmless here.
func (s *Store) failed(op, key string, opt objstore.PutOptions, date time.Time, err error) s3wire.Failure {
	f := s3wire.Failure{Op: op, Key: key, Put: opt, Date: date, Err: err, Keys: s.keys.Get().Origin}
	var resp minio.ErrorResponse
	if errors.As(err, &resp) && resp.StatusCode >= 300 {
		f.Status, f.Code, f.Message, f.Request = resp.StatusCode, resp.Code, resp.Message, resp.RequestID
	}
	return f
}
