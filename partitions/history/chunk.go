package history

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

// ChunkError adds the place of the chunk to an error about reading a message. Its text is
// that of Err.
type ChunkError struct {
	Place Place // the place that the chunk was looked for in
	Err   error
}

func (e *ChunkError) Error() string { return e.Err.Error() }
func (e *ChunkError) Unwrap() error { return e.Err }

// chunkError adds the place of a chunk to an error; nil stays nil.
func chunkError(p Place, err error) error {
	if err == nil {
		return nil
	}
	return &ChunkError{Place: p, Err: err}
}

// CheckChunk reads a chunk and compares it with its hash. IsDamage distinguishes damaged
// bytes from failed requests.
func CheckChunk(ctx context.Context, o *Objects, p Place) error {
	l, err := o.place(ctx, p)
	if err != nil {
		return err
	}
	frames, err := o.Frames(ctx, l.object, l.entry.Off, l.entry.Len)
	if errors.Is(err, objstore.ErrNotExist) { // removed after its directory was read
		o.forget(l.object)
		if l, err = o.place(ctx, p); err == nil {
			frames, err = o.Frames(ctx, l.object, l.entry.Off, l.entry.Len)
		}
	}
	if err != nil {
		return inObject(l.object, err)
	}
	body := pack.OpenEntry(l.entry, frames)
	sum := sha256.New()
	_, err = io.Copy(sum, body)
	err = errors.Join(err, body.Close(), frames.Close())
	if err == nil && ChunkID(sum.Sum(nil)) != p.Chunk {
		err = fmt.Errorf("chunk %s: %w: SHA-256 mismatch", p.Chunk, ErrCorrupt)
	}
	return inObject(l.object, err)
}

// Resolve is like ResolvePlace, and caches in o the notes and segments that it reads.
func (o *Objects) Resolve(ctx context.Context, p Place) (Place, error) {
	return o.resolver.resolve(ctx, p)
}
