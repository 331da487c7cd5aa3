package repository

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/cyrusbackup/backupd/objstore"
)

// ReadSmall reads an object that is never large (JSON for the whole of something).
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
		return nil, o.Info, fmt.Errorf("read %s: larger than %d bytes: it is not what this program wrote", key, most)
	}
	return b, o.Info, nil
}

// NewID returns 16 random bytes in hex.
func NewID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	return hex.EncodeToString(b[:])
}
