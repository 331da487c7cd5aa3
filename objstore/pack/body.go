package pack

import (
	"bytes"
	"errors"
	"io"
)

const (
	// MaxBody is the size in bytes of the largest body that ReadBody reads, and of the largest value of
	// backup_chunk_threshold. Larger messages are in pieces.
	MaxBody = 1 << 30
	// bodyAtOnce is the memory that ReadBody takes before anything has arrived.
	bodyAtOnce = 1 << 20
)

// ReadBody reads the whole body of an entry, as OpenEntry does. A directory may state any size: memory is
// taken as bytes arrive, and a body of more than MaxBody bytes is ErrCorrupt.
func ReadBody(e Entry, frames io.Reader) ([]byte, error) {
	if e.Size > MaxBody {
		return nil, corrupt("entry %s has %d bytes, over %d", e.Name, e.Size, int64(MaxBody))
	}
	r := OpenEntry(e, frames)
	var b bytes.Buffer
	b.Grow(int(max(0, min(e.Size, bodyAtOnce))) + bytes.MinRead)
	_, err := b.ReadFrom(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
