package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cyrusbackup/backupd/objstore"
)

// wholeInMemory is the size above which ReadWhole uses a temporary file.
const wholeInMemory = 16 << 20

// ReadWhole reads a whole object, so that it can be put again. The caller must call drop.
func ReadWhole(ctx context.Context, s objstore.Store, key string) (body objstore.Body, etag string, drop func(), err error) {
	o, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, "", nil, err
	}
	defer o.Close()
	if o.Size <= wholeInMemory {
		b, err := io.ReadAll(o)
		return bytes.NewReader(b), o.ETag, func() {}, err
	}
	f, err := os.CreateTemp("", "backupd-copy-")
	if err != nil {
		return nil, "", nil, fmt.Errorf("%w: %w", ErrTemporaryFile, err)
	}
	drop = func() { _ = f.Close() }
	size, err := io.Copy(temporary{f}, o)
	if err = errors.Join(err, os.Remove(f.Name())); err != nil {
		drop()
		return nil, "", nil, err
	}
	return io.NewSectionReader(f, 0, size), o.ETag, drop, nil
}

// ErrTemporaryFile reports that a temporary file could not be written: the object is not to blame.
var ErrTemporaryFile = errors.New("write a temporary file")

// temporary marks errors of writing a temporary file.
type temporary struct{ w io.Writer }

// Write implements io.Writer.
func (t temporary) Write(b []byte) (int, error) {
	n, err := t.w.Write(b)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrTemporaryFile, err)
	}
	return n, err
}
