package repository

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/cyrusbackup/backupd/objstore"
)

// ReadSmall reads a JSON object that is never large.
func ReadSmall(ctx context.Context, s objstore.Store, key string) ([]byte, objstore.Info, error) {
	const most = 1 << 20
	o, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, objstore.Info{}, err
	}
	defer o.Close()
	b, err := io.ReadAll(io.LimitReader(o, most+1))
	if err != nil {
		return nil, o.Info, fmt.Errorf("read %s: %w", key, err)
	}
	if len(b) > most {
		return nil, o.Info, fmt.Errorf("read %s: larger than %d bytes, so backupd did not write it", key, most)
	}
	return b, o.Info, nil
}

// NewID returns 16 random bytes in hex.
func NewID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	return hex.EncodeToString(b[:])
}

// PutIfAbsent writes a small object unless it exists. The error is then objstore.ErrExist;
// after an unclear answer of the store the existing object may be this one. If the store
// does not honour conditional puts, PutIfAbsent checks before it writes.
func PutIfAbsent(ctx context.Context, s objstore.Store, key string, b []byte, conditional bool) error {
	if !conditional {
		if _, err := s.Stat(ctx, key); err == nil {
			return &objstore.Error{Op: "put", Key: key, Err: objstore.ErrExist}
		} else if !errors.Is(err, objstore.ErrNotExist) {
			return err
		}
	}
	_, err := s.Put(ctx, key, bytes.NewReader(b), objstore.PutOptions{IfAbsent: conditional})
	return err
}
