package history

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/cyrusbackup/backupd/objstore/pack"
)

// ChunkError is what stood in the way of one chunk of a message. It has the words of Err.
type ChunkError struct {
	Place Place // where the chunk was said to lie
	Err   error
}

func (e *ChunkError) Error() string { return e.Err.Error() }
func (e *ChunkError) Unwrap() error { return e.Err }

// ofChunk says which chunk an error is about.
func ofChunk(p Place, err error) error {
	if err == nil {
		return nil
	}
	return &ChunkError{Place: p, Err: err}
}

// CheckChunk reads a chunk and compares it with its hash. IsDamage tells an error that is
// about the bytes from trouble in asking for them.
func CheckChunk(ctx context.Context, o *Objects, p Place) error {
	l, err := o.follow(ctx, p)
	if err != nil {
		return err
	}
	frames, err := o.Frames(ctx, l.object, l.entry.Off, l.entry.Len)
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

// Resolve is ResolvePlace with the memory of o.
func (o *Objects) Resolve(ctx context.Context, p Place) (Place, error) {
	return o.resolver.resolve(ctx, p)
}
