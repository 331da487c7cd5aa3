package retry_test

import (
	"context"
	"io"
	"iter"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
)

// choppy ends each body after five bytes and each list after one key.
type choppy struct {
	objstore.Store
	eof bool // bodies end with io.EOF
}

func broken(op, key string) error {
	return &objstore.Error{Op: op, Key: key, Temporary: true, Err: memstore.ErrInjected}
}

func (c *choppy) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for info, err := range c.Store.List(ctx, prefix, after) {
			if yield(info, err) {
				yield(objstore.Info{}, broken("list", prefix))
			}
			return
		}
	}
}

func (c *choppy) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	obj, err := c.Store.Get(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	obj.ReadCloser = &choppyBody{ReadCloser: obj.ReadCloser, key: key, left: 5, eof: c.eof}
	return obj, nil
}

type choppyBody struct {
	io.ReadCloser
	key  string
	left int
	eof  bool
}

func (b *choppyBody) Read(p []byte) (int, error) {
	if b.left == 0 && b.eof {
		return 0, io.EOF
	}
	if b.left == 0 {
		return 0, broken("get", b.key)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// Noncurrent ends each list after three versions.
func (c *choppy) Noncurrent(ctx context.Context, prefix, after string) iter.Seq2[objstore.Version, error] {
	return func(yield func(objstore.Version, error) bool) {
		n := 0
		for v, err := range c.Store.Noncurrent(ctx, prefix, after) {
			if n++; !yield(v, err) {
				return
			}
			if n == 3 {
				yield(objstore.Version{}, broken("noncurrent", prefix))
				return
			}
		}
	}
}
