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

// fetch reads a block in the store, without decompressing it. It may read some of the next blocks
// into the window, but nothing else: the object has blocks of other sequences as well.
func (b *blockSource) fetch(ctx context.Context, w *window, kind string, ref BlockRef, next iter.Seq[blockBytes]) blockBytes {
	out := blockBytes{kind: kind, ref: ref}
	var frames io.ReadCloser
	if out.entry, out.err = b.locate(ctx, kind, ref); out.err == nil {
		off, size := out.entry.Off, out.entry.Len
		if !w.has(ref.Object, off, size) && w.follows(ref.Object, off, betweenBlocks) {
			size = b.adjacent(ctx, out.entry, ref.Object, next)
		}
		frames, out.err = b.frames(ctx, w, ref.Object, off, out.entry.Len, size)
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

// adjacent returns the length of a block and those of the next blocks that follow it in its object,
// at most readAhead if there are several.
func (b *blockSource) adjacent(ctx context.Context, e pack.Entry, object string, next iter.Seq[blockBytes]) int64 {
	end := e.Off + e.Len
	for following := range next {
		if following.ref.Object != object {
			break
		}
		n, err := b.locate(ctx, following.kind, following.ref)
		if err != nil || n.Off < end || n.Off > end+betweenBlocks || n.Off+n.Len > e.Off+readAhead {
			break // an error is reported when the block is read
		}
		end = n.Off + n.Len
	}
	return end - e.Off
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
		blocks := slices.Clone(l.blocks)
		for i, b := range blocks {
			out := blockBytes{kind: l.kind, ref: b.ref}
			if b.inStore() {
				out = l.source.fetch(l.ctx, &w, l.kind, b.ref, l.named(blocks[i+1:]))
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

// named yields blocks without their bytes.
func (l *lineBlocks[T]) named(blocks []*lineBlock) iter.Seq[blockBytes] {
	return func(yield func(blockBytes) bool) {
		for _, b := range blocks {
			if !yield(blockBytes{kind: l.kind, ref: b.ref}) {
				return
			}
		}
	}
}
