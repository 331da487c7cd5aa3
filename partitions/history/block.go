package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

// The kinds of blocks, which are the suffixes of their entries.
const (
	recordBlocks  = "records"
	messageBlocks = "messages"
	placeBlocks   = "places"
)

// readAhead is the size of a request when the blocks of an object are read in order.
const readAhead = 4 << 20

// betweenBlocks is more than the header of an entry takes, which is in another frame than the block.
const betweenBlocks = 1 << 10

// blockSource reads blocks from the store, and keeps new blocks compressed until they are
// put. Not safe for concurrent use.
type blockSource struct {
	objects *Objects
	spill   *spill
	window  window
	buf     []byte    // for records; nil while it is in use
	buffers sync.Pool // of *[]byte, for blocks that are decoded ahead
}

// window is a part of an object that was read ahead.
type window struct {
	key  string
	off  int64
	data []byte
	next int64 // where the last request ended
}

func newBlockSource(s objstore.Store) (*blockSource, error) {
	spill, err := newSpill()
	return &blockSource{objects: NewObjects(s, 16), spill: spill}, err
}

func (b *blockSource) close() error {
	return b.spill.close()
}

// ReadBlock yields the records of a block in a RecordBlocksEvent.
func ReadBlock(ctx context.Context, s objstore.Store, ref BlockRef) iter.Seq2[*cyrus.Record, error] {
	b := blockSource{objects: NewObjects(s, 1)}
	return b.records(ctx, ref)
}

func (b *blockSource) records(ctx context.Context, ref BlockRef) iter.Seq2[*cyrus.Record, error] {
	return func(yield func(*cyrus.Record, error) bool) {
		buf := b.buf
		b.buf = nil
		raw, err := b.read(ctx, recordBlocks, ref, buf)
		if err == nil {
			defer func() { b.buf = raw }()
			err = eachRecord(raw, ref, func(r *RecordState) error {
				if !yield(&r.Record, nil) {
					return errStop
				}
				return nil
			})
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(nil, inObject(ref.Object, err))
		}
	}
}

// read returns the bytes of a block in the store, and checks the hash. It uses the memory of
// buf if that is large enough.
func (b *blockSource) read(ctx context.Context, kind string, ref BlockRef, buf []byte) ([]byte, error) {
	e, err := b.locate(ctx, kind, ref)
	if err != nil {
		return nil, ref.wrap(kind, err)
	}
	size := e.Len
	if b.window.follows(ref.Object, e.Off, 0) {
		size = max(size, readAhead) // small blocks of several mailboxes
	}
	frames, err := b.frames(ctx, &b.window, ref.Object, e.Off, e.Len, size)
	if err != nil {
		return nil, ref.wrap(kind, err)
	}
	raw, err := ref.decompress(e, frames, buf)
	return raw, ref.wrap(kind, closeAfter(frames, err))
}

// wrap adds the names of the block and its object to an error.
func (r BlockRef) wrap(kind string, err error) error {
	if err == nil {
		return nil
	}
	return inObject(r.Object, fmt.Errorf("block %s.%s: %w", r.SHA256, kind, err))
}

// locate returns the entry of a block in its object.
func (b *blockSource) locate(ctx context.Context, kind string, ref BlockRef) (pack.Entry, error) {
	dir, err := b.objects.Directory(ctx, ref.Object)
	if err != nil {
		return pack.Entry{}, err
	}
	e, ok := dir.Lookup(ref.SHA256 + "." + kind)
	if !ok {
		return e, fmt.Errorf("%w: entry not found", ErrCorrupt)
	}
	if e.Size > maxBlockSize {
		return e, fmt.Errorf("%w: too large, %d bytes", ErrCorrupt, e.Size)
	}
	return e, nil
}

// decompress returns the bytes of the block from its frames, and checks the hash. It uses
// the memory of buf if that is large enough.
func (r BlockRef) decompress(e pack.Entry, frames io.Reader, buf []byte) ([]byte, error) {
	body := pack.OpenEntry(e, frames)
	raw, err := readAll(body, e.Size, buf)
	if err = closeAfter(body, err); err == nil && hashOf(raw) != r.SHA256 {
		err = fmt.Errorf("%w: SHA-256 mismatch", ErrCorrupt)
	}
	return raw, err
}

// has reports whether the window has n bytes of an object.
func (w *window) has(key string, off, n int64) bool {
	return w.key == key && off >= w.off && off+n <= w.off+int64(len(w.data))
}

// follows reports whether off follows the last bytes that were read, after a gap of at most this many.
func (w *window) follows(key string, off, gap int64) bool {
	return w.key == key && off >= w.next && off <= w.next+gap
}

// frames returns n bytes of an object, from the window if that has them. Otherwise it reads size
// bytes into the window; n of them must exist.
func (b *blockSource) frames(ctx context.Context, w *window, key string, off, n, size int64) (io.ReadCloser, error) {
	if w.has(key, off, n) {
		w.next = off + n
		return io.NopCloser(bytes.NewReader(w.data[off-w.off:][:n])), nil
	}
	data := w.data
	*w = window{key: key, off: off, next: off + n}
	if size <= n {
		return b.objects.Frames(ctx, key, off, n)
	}
	r, err := b.objects.store.Get(ctx, key, off, size)
	if err != nil {
		return nil, err
	}
	w.data, err = readAll(io.LimitReader(r, size), size, data)
	if err = closeAfter(r, err); err != nil {
		return nil, err
	}
	if int64(len(w.data)) < n {
		return nil, io.ErrUnexpectedEOF
	}
	return io.NopCloser(bytes.NewReader(w.data[:n])), nil
}

// readAll reads to the end. The size comes from the object and may be wrong, so it
// allocates at most four megabytes in advance. It uses the memory of buf if that is large
// enough.
func readAll(r io.Reader, size int64, buf []byte) ([]byte, error) {
	if n := min(size, 4<<20) + 1; int64(cap(buf)) < n {
		buf = make([]byte, 0, n)
	}
	buf = buf[:0]
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, len(buf))
		}
	}
}
