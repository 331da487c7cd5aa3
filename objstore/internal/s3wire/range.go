package s3wire

import (
	"context"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
)

// Range returns the Range header for off and n of Get; "" requests the whole object. A
// Range header cannot express n = 0.
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

// CheckRange checks that the answer has the requested range, and returns the size of the
// whole object. contentRange is the answer's header, length its Content-Length, negative if
// missing: then neither the end of a body nor the size of the object is known. An ignored
// range is an error, unless the whole object was the correct answer.
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
		return 0, fmt.Errorf("%w: got %d bytes from %d, requested %s", objstore.ErrUnsupported, length, start, Range(off, n))
	}
	return size, nil
}

// parseContentRange reads "bytes 10-19/100". For an empty object MinIO sends "bytes
// 0--1/0".
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

// Body translates errors in the middle of a body.
type Body struct {
	Ctx context.Context // of the request; its end is also the end of the body
	Key string
	io.ReadCloser
}

// Read returns an *objstore.Error for every error except io.EOF.
func (b *Body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = Failure{Op: "get", Key: b.Key, Err: err}.Error(b.Ctx)
	}
	return n, err
}
