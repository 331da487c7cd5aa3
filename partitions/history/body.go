package history

import (
	"cmp"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

// maxGap is how many bytes are read and discarded to avoid another request.
const maxGap = 64 << 10

// located is a chunk and the location of its frames.
type located struct {
	chunk  ChunkID
	object string
	entry  pack.Entry
	place  Place // the place that led here
}

// OpenMessage opens the body of a message. places returns the possible places of a chunk,
// the likeliest first (Mem.Places). Places of moved objects are resolved. Adjacent chunks
// of an object take one request. The reader returns io.EOF only after it has checked the
// SHA-256 of each chunk, and the size and GUID of the message: do not trust the bytes
// before that. Small messages can be checked before OpenMessage returns (KeepFrames). The error is ErrMissing for a message without a body,
// ErasedError if that was erased, and ErrNoPlace for a chunk without a known place.
func OpenMessage(ctx context.Context, o *Objects, m *MessageState, places func(ChunkID) ([]Place, error)) (io.ReadCloser, error) {
	if err := m.BodyError(); err != nil {
		return nil, err
	}
	if r := o.fromFrame(ctx, m, places); r != nil {
		return r, nil
	}
	b := &body{ctx: ctx, objects: o, guid: m.GUID, left: m.Size, whole: sha1.New()}
	for _, c := range m.Chunks {
		l, err := o.locate(ctx, c, places)
		if err != nil {
			return nil, fmt.Errorf("message %s: %w", m.GUID, err)
		}
		b.chunks = append(b.chunks, l)
	}
	return b, nil
}

// locate returns the first place of a chunk that exists.
func (o *Objects) locate(ctx context.Context, c ChunkID, places func(ChunkID) ([]Place, error)) (located, error) {
	list, err := places(c)
	if err != nil {
		return located{}, err
	}
	if len(list) == 0 {
		return located{}, fmt.Errorf("chunk %s: %w", c, ErrNoPlace)
	}
	var first error // from the likeliest place
	for _, p := range list {
		l, err := o.follow(ctx, p)
		if err == nil {
			l.place = p
			return l, nil
		}
		if first == nil {
			first = chunkError(p, err)
		}
	}
	return located{}, first
}

// follow is like locateIn, and resolves the place if its object is missing. A commit in the log may also
// be another one than the place means: its writer slept until retention had removed the number.
func (o *Objects) follow(ctx context.Context, p Place) (located, error) {
	if err := p.erasedError(); err != nil {
		return located{}, err
	}
	l, err := o.locateIn(ctx, p)
	_, _, inLog := parseAnyLogKey(p.Object)
	if gone := errors.Is(err, objstore.ErrNotExist); gone || inLog && IsUnreadable(err) {
		now, rerr := o.resolver.resolve(ctx, p)
		if rerr != nil && !gone {
			return located{}, err
		}
		if rerr == nil {
			rerr = now.erasedError()
		}
		if rerr != nil {
			return located{}, rerr
		}
		l, err = o.locateIn(ctx, now)
		if errors.Is(err, objstore.ErrNotExist) { // the pack may have been rewritten in turn since its note was cached
			o.resolver.forgetMoved(p.Object)
			if again, rerr := o.resolver.resolve(ctx, p); rerr == nil && again != now {
				now = again
				l, err = o.locateIn(ctx, now)
			}
		}
		if _, packed := MovedKey(now.Object); inLog && packed && errors.Is(err, objstore.ErrNotExist) {
			return o.follow(ctx, now) // the segment or checkpoint that names the pack is older than its rewrite
		}
		if IsDamage(err) {
			err = fmt.Errorf("%s is missing, and the recorded new place of entry %s is wrong or out of date: %w", p.Object, p.Entry, err)
		}
	}
	return l, err
}

// Entry returns the object and entry that a place currently leads to. An erased place leads nowhere: the error is
// ErrNoPlace, because another place of the chunk may be newer.
func (o *Objects) Entry(ctx context.Context, p Place) (object string, e pack.Entry, err error) {
	l, err := o.place(ctx, p)
	return l.object, l.entry, err
}

// place is follow for a single place, and not for a message.
func (o *Objects) place(ctx context.Context, p Place) (located, error) {
	l, err := o.follow(ctx, p)
	var erased *ErasedError
	if errors.As(err, &erased) {
		err = fmt.Errorf("chunk %s: %w: %w", p.Chunk, ErrNoPlace, err)
	}
	return l, err
}

func (o *Objects) locateIn(ctx context.Context, p Place) (located, error) {
	dir, err := o.Directory(ctx, p.Object)
	if err != nil {
		return located{}, err
	}
	e, ok := dir.Lookup(p.Entry)
	if !ok {
		return located{}, fmt.Errorf("%s: %w: no entry %s for chunk %s", p.Object, ErrCorrupt, p.Entry, p.Chunk)
	}
	return located{chunk: p.Chunk, object: p.Object, entry: e}, nil
}

// body reads a message chunk by chunk.
type body struct {
	ctx     context.Context // of OpenMessage, which the body must not outlive
	objects *Objects
	guid    cyrus.GUID
	chunks  []located // not started yet
	left    int64     // bytes of the message not read yet
	whole   hash.Hash
	err     error

	run   io.ReadCloser // the current request
	at    int64         // current offset in the object
	until int64         // end of the request
	inRun string        // object of the request

	chunk   io.ReadCloser // the current chunk, nil between two chunks
	frames  io.Reader     // the rest of its frames
	current located
	sum     *hashingReader
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	for b.err == nil {
		if b.chunk == nil {
			if b.err = b.next(); b.err != nil {
				break
			}
		}
		n, err := b.sum.Read(p)
		b.whole.Write(p[:n])
		b.left -= int64(n)
		if err != nil {
			b.err = b.endChunk(err)
		}
		if b.left < 0 && b.err == nil {
			b.err = b.damaged("longer than its recorded size")
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, b.err
}

// next starts the next chunk, or ends the message.
func (b *body) next() error {
	if len(b.chunks) == 0 {
		if b.left != 0 {
			return b.damaged("shorter than its recorded size")
		}
		if cyrus.GUID(b.whole.Sum(nil)) != b.guid {
			return b.damaged("SHA-1 mismatch")
		}
		return io.EOF
	}
	l := b.chunks[0]
	err := b.seek(l)
	if errors.Is(err, objstore.ErrNotExist) {
		if err = b.relocate(l.object); err == nil {
			l = b.chunks[0]
			err = b.seek(l)
		}
	}
	if err != nil {
		return chunkError(l.place, inObject(l.object, err))
	}
	b.chunks, b.current = b.chunks[1:], l
	b.frames = io.LimitReader(b.run, l.entry.Len)
	b.chunk = pack.OpenEntry(l.entry, b.frames)
	b.sum = newHashingReader(b.chunk)
	return nil
}

// relocate finds the chunks in an object again that was removed after its directory was read.
func (b *body) relocate(object string) error {
	b.objects.forget(object)
	for i, l := range b.chunks {
		if l.object != object {
			continue
		}
		now, err := b.objects.follow(b.ctx, l.place)
		if err != nil {
			return err
		}
		now.place = l.place
		b.chunks[i] = now
	}
	return nil
}

func (b *body) damaged(what string) error {
	return fmt.Errorf("%s: message %s: %w: %s", b.current.object, b.guid, ErrCorrupt, what)
}

// endChunk closes the chunk and checks its hash.
func (b *body) endChunk(err error) error {
	closed := b.chunk.Close()
	b.chunk = nil
	b.at += b.current.entry.Len
	switch {
	case !errors.Is(err, io.EOF):
		err = fmt.Errorf("chunk %s: %w", b.current.chunk, err)
	case b.sum.hex() != b.current.chunk.String():
		err = fmt.Errorf("chunk %s: %w: SHA-256 mismatch", b.current.chunk, ErrCorrupt)
	default:
		// Skip the unused rest of the frames, which precedes the next chunk.
		_, err = io.Copy(io.Discard, b.frames)
		err = cmp.Or(closed, err)
	}
	return chunkError(b.current.place, inObject(b.current.object, err))
}

// seek advances the current request to the frames of l. If it does not contain them, seek
// makes a request for them and for the chunks that follow in the same object.
func (b *body) seek(l located) error {
	if b.run != nil && b.inRun == l.object && l.entry.Off >= b.at && l.entry.Off+l.entry.Len <= b.until {
		n, err := io.CopyN(io.Discard, b.run, l.entry.Off-b.at)
		b.at += n
		return err
	}
	if err := b.closeRun(); err != nil {
		return err
	}
	end := l.entry.Off + l.entry.Len
	for _, next := range b.chunks[1:] {
		if next.object != l.object || next.entry.Off < end || next.entry.Off > end+maxGap {
			break
		}
		end = next.entry.Off + next.entry.Len
	}
	run, err := b.objects.Frames(b.ctx, l.object, l.entry.Off, end-l.entry.Off)
	if err != nil {
		return err
	}
	b.run, b.inRun, b.at, b.until = run, l.object, l.entry.Off, end
	return nil
}

func (b *body) closeRun() error {
	if b.run == nil {
		return nil
	}
	err := b.run.Close()
	b.run = nil
	return err
}

// Close ends the current request.
func (b *body) Close() error {
	if b.err == nil {
		b.err = errors.New("read after close")
	}
	var err error
	if b.chunk != nil {
		err = b.chunk.Close()
		b.chunk = nil
	}
	return errors.Join(err, b.closeRun())
}
