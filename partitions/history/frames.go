package history

import (
	"bytes"
	"container/list"
	"context"
	"io"
	"sync"

	"github.com/cyrusbackup/backupd/objstore/pack"
)

// keptFrames are the decoded frames that were used last. Readers of many messages in order of
// their packs need each frame hundreds of times in a row.
type keptFrames struct {
	max int64 // bytes, beside frames that are being read

	mu    sync.Mutex
	bytes int64
	byAt  map[Frame]*list.Element // of *keptFrame
	used  list.List               // latest first
}

type keptFrame struct {
	at   Frame
	done chan struct{} // closed when raw or err is set
	raw  []byte
	err  error
}

// KeepFrames makes OpenMessage read and decode each frame of small messages once, for readers
// that come soon after each other. It keeps max bytes of decoded frames. It must be called
// before the first read.
func (o *Objects) KeepFrames(max int64) {
	o.frames = &keptFrames{max: max, byAt: map[Frame]*list.Element{}}
}

// fromFrame opens a message in a frame that is kept. It returns nil if OpenMessage has to read
// the message otherwise, which also finds out about damage.
func (o *Objects) fromFrame(ctx context.Context, m *MessageState, places func(ChunkID) ([]Place, error)) io.ReadCloser {
	if o.frames == nil {
		return nil
	}
	s, err := o.Small(ctx, m, places)
	if err != nil || s == nil {
		return nil
	}
	raw, err := o.frames.get(ctx, s.Frame, func() ([]byte, error) {
		comp, err := o.Range(ctx, s.Object, s.Off, s.Len)
		if err != nil {
			return nil, err
		}
		return pack.DecodeFrame(comp, s.Off)
	})
	if err != nil {
		return nil
	}
	b, err := s.Body(raw)
	if err != nil {
		return nil
	}
	return io.NopCloser(bytes.NewReader(b))
}

// get returns a frame. The first caller reads it, others wait for that.
func (k *keptFrames) get(ctx context.Context, at Frame, read func() ([]byte, error)) ([]byte, error) {
	f, first := k.frame(at)
	if first {
		raw, err := read()
		k.finish(f, raw, err)
		close(f.done)
		return f.raw, f.err
	}
	select {
	case <-f.done:
		return f.raw, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// frame returns the entry of a frame, and whether the caller has to read it.
func (k *keptFrames) frame(at Frame) (f *keptFrame, first bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e, ok := k.byAt[at]; ok {
		k.used.MoveToFront(e)
		return e.Value.(*keptFrame), false
	}
	f = &keptFrame{at: at, done: make(chan struct{})}
	k.byAt[at] = k.used.PushFront(f)
	return f, true
}

// finish counts a frame that was read, and forgets others, or the frame itself if it could not
// be read.
func (k *keptFrames) finish(f *keptFrame, raw []byte, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f.raw, f.err = raw, err
	e, kept := k.byAt[f.at]
	if !kept || e.Value != any(f) {
		return // forgotten meanwhile
	}
	if err != nil {
		k.drop(e)
		return
	}
	k.bytes += int64(len(f.raw))
	for e := k.used.Back(); e != nil && k.bytes > k.max; {
		older := e.Prev()
		if old := e.Value.(*keptFrame); old != f && old.raw != nil {
			k.bytes -= int64(len(old.raw))
			k.drop(e)
		}
		e = older
	}
}

// forget drops all frames.
func (k *keptFrames) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.byAt)
	k.used.Init()
	k.bytes = 0
}

func (k *keptFrames) drop(e *list.Element) {
	k.used.Remove(e)
	delete(k.byAt, e.Value.(*keptFrame).at)
}
