package s3wire

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
)

// Get is a driver's Get. get opens the range in one request; stat is called for the ranges
// that a Range header cannot express.
func Get(key string, off, n int64, get func() (*objstore.Object, error), stat func() (objstore.Info, error)) (*objstore.Object, error) {
	if err := objstore.CheckKey(key); err != nil {
		return nil, &objstore.Error{Op: "get", Key: key, Err: err}
	}
	if n == 0 && off >= 0 {
		return nothing(off, stat)
	}
	obj, err := get()
	if errors.Is(err, objstore.ErrRange) && off <= 0 {
		return nothing(0, stat) // an empty object has no range at all
	}
	return obj, err
}

// nothing answers a Get of zero bytes at off.
func nothing(off int64, stat func() (objstore.Info, error)) (*objstore.Object, error) {
	info, err := stat()
	if err != nil {
		return nil, err
	}
	if _, _, err := objstore.Span(off, 0, info.Size); err != nil {
		return nil, &objstore.Error{Op: "get", Key: info.Key, StoreTime: info.StoreTime, Err: err}
	}
	return &objstore.Object{ReadCloser: io.NopCloser(strings.NewReader("")), Info: info}, nil
}

// Stat sends a HEAD by head. If the store refuses it without a reason, Stat requests the
// object itself by get, because the answer to GET has a body with the reason.
func Stat(ctx context.Context, head func() (objstore.Info, *Failure), get func() (*objstore.Object, error)) (objstore.Info, error) {
	info, f := head()
	switch {
	case f == nil:
		return info, nil
	case !f.Silent():
		return objstore.Info{}, f.Error(ctx)
	}
	obj, err := get()
	var e *objstore.Error
	switch {
	case errors.As(err, &e):
		return objstore.Info{}, &objstore.Error{Op: f.Op, Key: f.Key, StoreTime: e.StoreTime, Temporary: e.Temporary, Status: e.Status, Err: e.Err}
	case err != nil:
		return objstore.Info{}, err
	}
	return obj.Info, obj.Close()
}
