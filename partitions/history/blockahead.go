package history

import (
	"bytes"
	"context"
	"io"
	"iter"
	"runtime"
	"slices"

	"github.com/cyrusbackup/backupd/internal/inorder"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

// decodedAtOnce limits the blocks of a sequence that are decoded at a time. Each one takes
// about three megabytes.
const decodedAtOnce = 4

// blockBytes are the bytes of a block before they are decoded.
type blockBytes struct {
	kind  string
	ref   BlockRef
	raw   []byte     // if frames is nil
	entry pack.Entry // of frames
	// frames are compressed, and in a buffer of blockSource.buffers.
	frames *[]byte
	err    error
}

// fetch reads a block in the store, without decompressing it.
func (b *blockSource) fetch(ctx context.Context, w *window, kind string, ref BlockRef) blockBytes {
	out := blockBytes{kind: kind, ref: ref}
	var frames io.ReadCloser
	if out.entry, out.err = b.locate(ctx, kind, ref); out.err == nil {
		frames, out.err = b.frames(ctx, w, ref.Object, out.entry.Off, out.entry.Len)
	}
	if out.err != nil {
		out.err = ref.wrap(kind, out.err)
		return out
	}
	buf := b.buffer()
	*buf, out.err = readAll(frames, out.entry.Len, *buf)
	out.frames, out.err = buf, ref.wrap(kind, closeAfter(frames, out.err))
	return out
}

// buffer returns a buffer, which the caller may return to buffers.
func (b *blockSource) buffer() *[]byte {
	if buf, ok := b.buffers.Get().(*[]byte); ok {
		return buf
	}
	return new([]byte)
}

// decoded is a block after decode.
type decoded[V any] struct {
	ref BlockRef
	v   V
	err error
}

// decodeInOrder decodes blocks on all cores, and yields them in order. It reads in on the
// goroutine of the loop, a few blocks ahead. decode runs on other goroutines; raw is valid
// until it returns. A block with an error does not end the sequence.
func decodeInOrder[V any](ctx context.Context, s *blockSource, in iter.Seq[blockBytes], decode func(ref BlockRef, raw []byte) (V, error)) iter.Seq[decoded[V]] {
	limit := inorder.Limit[blockBytes]{Count: min(runtime.GOMAXPROCS(0)+1, decodedAtOnce)}
	return inorder.Map(ctx, limit, in, func(_ context.Context, _ <-chan struct{}, b blockBytes) decoded[V] {
		out := decoded[V]{ref: b.ref, err: b.err}
		if out.err == nil {
			out.v, out.err = decodeBlock(s, b, decode)
		}
		return out
	})
}

func decodeBlock[V any](s *blockSource, b blockBytes, decode func(ref BlockRef, raw []byte) (V, error)) (v V, err error) {
	if b.frames == nil {
		return decode(b.ref, b.raw)
	}
	buf := s.buffer()
	defer s.buffers.Put(buf)
	*buf, err = b.ref.decompress(b.entry, bytes.NewReader(*b.frames), *buf)
	s.buffers.Put(b.frames)
	if err != nil {
		return v, b.ref.wrap(b.kind, err)
	}
	return decode(b.ref, *buf)
}

// inOrder yields the blocks of l as they are when they are read, a few blocks ahead of the
// loop.
func (l *lineBlocks[T]) inOrder() iter.Seq[blockBytes] {
	return func(yield func(blockBytes) bool) {
		var w window
		for _, b := range slices.Clone(l.blocks) {
			out := blockBytes{kind: l.kind, ref: b.ref}
			if b.inStore() {
				out = l.source.fetch(l.ctx, &w, l.kind, b.ref)
			} else if raw, err := l.bytes(b); err != nil {
				out.err = err
			} else {
				out.raw = bytes.Clone(raw) // it is valid until the next call
			}
			if !yield(out) {
				return
			}
		}
	}
}

// inStore reports whether the bytes must be read from the store.
func (b *lineBlock) inStore() bool { return !b.open && b.raw == nil && b.packed == nil }
