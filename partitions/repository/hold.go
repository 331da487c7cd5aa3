package repository

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"

	"github.com/cyrusbackup/backupd/objstore"
)

// heldInMemory is the size above which Hold uses a temporary file.
const heldInMemory = 16 << 20

// Hold reads a whole object, so that it can be put again. The caller must call drop.
func Hold(ctx context.Context, s objstore.Store, key string) (body objstore.Body, etag string, drop func(), err error) {
	o, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, "", nil, err
	}
	defer o.Close()
	if o.Size <= heldInMemory {
		b, err := io.ReadAll(o)
		return bytes.NewReader(b), o.ETag, func() {}, err
	}
	f, err := os.CreateTemp("", "backupd-copy-")
	if err != nil {
		return nil, "", nil, err
	}
	drop = func() { _ = f.Close() }
	size, err := io.Copy(f, o)
	if err = errors.Join(err, os.Remove(f.Name())); err != nil {
		drop()
		return nil, "", nil, err
	}
	return io.NewSectionReader(f, 0, size), o.ETag, drop, nil
}
