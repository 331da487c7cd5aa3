package history

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

// Frame is the position of a frame of an object.
type Frame struct {
	Object   string
	Off, Len int64
}

// Small is a message of one chunk in a frame that also holds other messages. A reader of many
// messages fetches and decodes such a frame once for all of them; OpenMessage would do it for
// each message.
type Small struct {
	Frame
	Raw   int64 // size of the decompressed frame; 0 = unknown
	entry pack.Entry
	chunk ChunkID
	guid  cyrus.GUID
	size  int64
}

// Small finds the frame of a message. It returns nil if the message is not in such a frame, and
// the errors of OpenMessage.
func (o *Objects) Small(ctx context.Context, m *MessageState, places func(ChunkID) ([]Place, error)) (*Small, error) {
	if m.Missing || len(m.Chunks) != 1 {
		return nil, nil
	}
	l, err := o.locate(ctx, m.Chunks[0], places)
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", m.GUID, err)
	}
	if !l.entry.Shared() {
		return nil, nil
	}
	return &Small{Frame: Frame{l.object, l.entry.Off, l.entry.Len}, Raw: l.entry.Raw,
		entry: l.entry, chunk: l.chunk, guid: m.GUID, size: m.Size}, nil
}

// Body returns the message as a part of its decompressed frame, after a check of its size and
// hashes. The error is ErrCorrupt.
func (s *Small) Body(frame []byte) ([]byte, error) {
	b, err := s.entry.Body(frame)
	switch {
	case err != nil:
		return nil, inObject(s.Object, err)
	case int64(len(b)) != s.size, ChunkID(sha256.Sum256(b)) != s.chunk, cyrus.GUID(sha1.Sum(b)) != s.guid:
		return nil, fmt.Errorf("%s: message %s: %w: its bytes do not match its size or hashes", s.Object, s.guid, ErrCorrupt)
	}
	return b, nil
}

// Range reads n bytes of an object from off with one request.
func (o *Objects) Range(ctx context.Context, key string, off, n int64) ([]byte, error) {
	r, err := o.Frames(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return b, closeAfter(r, err)
}
