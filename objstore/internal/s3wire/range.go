package s3wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
)

// Range is the Range header for the off and n of Get; "" asks for the whole object.
// n = 0 cannot be asked for.
func Range(off, n int64) string {
	switch {
	case off == math.MinInt64:
		return fmt.Sprintf("bytes=-%d", int64(math.MaxInt64))
	case off < 0:
		return fmt.Sprintf("bytes=-%d", -off)
	case off == 0 && n < 0:
		return ""
	case n < 0 || off > math.MaxInt64-n:
		return fmt.Sprintf("bytes=%d-", off)
	}
	return fmt.Sprintf("bytes=%d-%d", off, off+n-1)
}

// CheckRange compares what was answered with what was asked for, and returns the
// size of the whole object. contentRange is the answer's header, length its
// Content-Length, negative without one: nobody could tell then whether a body is whole,
// or how large the object is. A store that ignored the range is an error, except where the whole
// object is the right answer.
func CheckRange(off, n int64, contentRange string, length int64) (size int64, err error) {
	if length < 0 {
		return 0, fmt.Errorf("%w: an answer without Content-Length", objstore.ErrUnsupported)
	}
	if Range(off, n) == "" {
		return length, nil
	}
	size, start := length, int64(0)
	if contentRange != "" {
		if start, size, err = parseContentRange(contentRange); err != nil {
			return 0, err
		}
	}
	wantStart, wantLength, err := objstore.Span(off, n, size)
	if err != nil {
		return 0, err
	}
	if start != wantStart || length != wantLength {
		return 0, fmt.Errorf("%w: %d bytes from %d where %s was asked for", objstore.ErrUnsupported, length, start, Range(off, n))
	}
	return size, nil
}

// parseContentRange reads "bytes 10-19/100". Of an empty object MinIO says "bytes 0--1/0".
func parseContentRange(s string) (start, size int64, err error) {
	r, total, ok := strings.Cut(strings.TrimPrefix(s, "bytes "), "/")
	first, _, ok2 := strings.Cut(r, "-")
	start, err1 := strconv.ParseInt(first, 10, 64)
	size, err2 := strconv.ParseInt(total, 10, 64)
	if !ok || !ok2 || err1 != nil || err2 != nil || start < 0 || size < 0 || size <= start && size > 0 {
		return 0, 0, fmt.Errorf("content-range %q not understood", s)
	}
	return start, size, nil
}

// Body translates the errors in the middle of a body.
type Body struct {
	Ctx context.Context // the request's: its end is the body's
	Key string
	io.ReadCloser
}

// Read reads; an error other than io.EOF is an *objstore.Error.
func (b *Body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = Failure{Op: "get", Key: b.Key, Err: err}.Error(b.Ctx)
	}
	return n, err
}

// Nothing is the answer to a Get of no bytes from off, of an object that Stat knows.
func Nothing(off int64, info objstore.Info) (*objstore.Object, error) {
	if _, _, err := objstore.Span(off, 0, info.Size); err != nil {
		return nil, &objstore.Error{Op: "get", Key: info.Key, StoreTime: info.StoreTime, Err: err}
	}
	return &objstore.Object{ReadCloser: io.NopCloser(strings.NewReader("")), Info: info}, nil
}

// StatByGet asks for the object itself after HEAD was refused without words: the
// answer to GET has a body that says why.
func StatByGet(op, key string, get func() (*objstore.Object, error)) (objstore.Info, error) {
	obj, err := get()
	var e *objstore.Error
	switch {
	case errors.As(err, &e):
		return objstore.Info{}, &objstore.Error{Op: op, Key: key, StoreTime: e.StoreTime, Temporary: e.Temporary, Err: e.Err}
	case err != nil:
		return objstore.Info{}, err
	}
	return obj.Info, obj.Close()
}
