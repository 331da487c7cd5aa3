package retry

import (
	"context"
	"fmt"
	"io"
	"math"

	"github.com/cyrusbackup/backupd/objstore"
)

func (s *store) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	obj, err := do(ctx, s, func() (*objstore.Object, error) { return s.under.Get(ctx, key, off, n) })
	if err != nil {
		return nil, err
	}
	start, length, err := objstore.Span(off, n, obj.Size)
	if err != nil { // the store answered a request that it should have refused
		_ = obj.Close() // nothing was written
		return nil, &objstore.Error{Op: "get", Key: key, StoreTime: obj.StoreTime, Err: err}
	}
	b := &body{ctx: ctx, s: s, info: obj.Info, at: start, left: length, ReadCloser: obj.ReadCloser}
	return &objstore.Object{Info: obj.Info, ReadCloser: b}, nil
}

// body continues to read an object after its connection was lost.
type body struct {
	ctx  context.Context // of the Get
	s    *store
	info objstore.Info
	at   int64 // position of the next byte in the object
	left int64 // remaining bytes
	t    *try  // since the last byte
	io.ReadCloser
}

func (b *body) Read(p []byte) (int, error) {
	for {
		n, err := b.ReadCloser.Read(p)
		b.at, b.left = b.at+int64(n), b.left-int64(n)
		if n > 0 {
			b.t = nil
		}
		switch {
		case b.left <= 0 && (err == io.EOF || objstore.IsTemporary(err)):
			return n, io.EOF // everything has arrived, so the state of the connection does not matter
		case err == io.EOF:
			err = &objstore.Error{Op: "get", Key: b.info.Key, Temporary: true, Err: io.ErrUnexpectedEOF}
		case !objstore.IsTemporary(err): // nil, too
			return n, err
		}
		if n > 0 { // the error is returned again, or the next Read works
			return n, nil
		}
		if err := b.reopen(err); err != nil {
			return 0, err
		}
	}
}

// reopen waits and gets the rest, if the object has not changed.
func (b *body) reopen(err error) error {
	if b.t == nil {
		b.t = b.s.newTry()
	}
	for {
		if err := b.t.again(b.ctx, err); err != nil {
			return err
		}
		var obj *objstore.Object
		if obj, err = b.s.under.Get(b.ctx, b.info.Key, b.at, min(b.left, math.MaxInt64-b.at)); err != nil {
			continue
		}
		if obj.ETag != b.info.ETag || obj.Size != b.info.Size {
			_ = obj.Close() // nothing was written
			return &objstore.Error{Op: "get", Key: b.info.Key, StoreTime: obj.StoreTime,
				Err: fmt.Errorf("%w while it was read", objstore.ErrPrecondition)}
		}
		_ = b.ReadCloser.Close() // the connection is broken
		b.ReadCloser = obj.ReadCloser
		return nil
	}
}
