package pack

import (
	"errors"
	"io"
	"slices"

	"github.com/klauspost/compress/zstd"
)

const (
	blockHeader  = 3
	maxBlock     = 128 << 10
	checksumSize = 4
)

// errDirectory means that the directory follows instead of data.
var errDirectory = errors.New("directory")

// frameReader reads zstd frames from a stream. It returns frames after a check of their
// checksum. It uses s, and no more memory than one frame.
type frameReader struct {
	s   *scratch
	off int64 // of the next frame in the object
}

// next returns the next frame, decompressed, valid until the next call. It returns io.EOF
// if the stream ends between frames.
func (f *frameReader) next() ([]byte, error) {
	at := f.off
	h, err := f.header()
	if err != nil {
		return nil, err
	}
	if err := f.body(h); err != nil {
		return nil, within(at, err)
	}
	f.off += int64(len(f.s.comp))
	n := int(h.FrameContentSize)
	f.s.raw = slices.Grow(f.s.raw[:0], n)[:n]
	if err := decodeFrame(f.s.raw, f.s.comp); err != nil {
		return nil, within(at, err)
	}
	return f.s.raw, nil
}

// header reads the header of a frame into s.comp and checks it against the limits of the
// format.
func (f *frameReader) header() (h zstd.Header, err error) {
	head, err := f.s.br.Peek(zstd.HeaderMaxSize)
	if err != nil && (err != io.EOF || len(head) == 0) {
		return h, err
	}
	err = nil // the last frame may be shorter
	if err := h.Decode(head); err != nil {
		return h, within(f.off, corrupt("%v", err))
	}
	switch {
	case h.Skippable && h.SkippableID == directoryID:
		return h, errDirectory
	case h.Skippable:
		err = corrupt("skippable frame among the data")
	case h.DictionaryID != 0:
		err = corrupt("frame with a dictionary")
	case !h.HasCheckSum || !h.HasFCS:
		err = corrupt("frame without checksum or size")
	case h.FrameContentSize > maxFrame || h.FrameContentSize%tarBlock != 0 || h.FrameContentSize == 0:
		err = corrupt("frame of %d bytes", h.FrameContentSize)
	case h.WindowSize > maxWindow:
		err = corrupt("frame with a window of %d bytes", h.WindowSize)
	}
	if err != nil {
		return h, within(f.off, err)
	}
	f.s.comp = f.s.comp[:0]
	return h, f.take(h.HeaderSize)
}

// body reads the blocks and the checksum of a frame into s.comp.
func (f *frameReader) body(h zstd.Header) error {
	limit := maxCompressed(int64(h.FrameContentSize))
	for {
		if err := f.take(blockHeader); err != nil {
			return err
		}
		b := f.s.comp[len(f.s.comp)-blockHeader:]
		v := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		last, size := v&1 != 0, int(v>>3)
		if size > maxBlock || v>>1&3 == 3 {
			return corrupt("block of %d bytes, type %d", size, v>>1&3)
		}
		if v>>1&3 == 1 { // one byte, repeated
			size = 1
		}
		if int64(len(f.s.comp)+size) > limit {
			return corrupt("frame of %d bytes takes more than %d", h.FrameContentSize, limit)
		}
		if last {
			size += checksumSize
		}
		if err := f.take(size); err != nil || last {
			return err
		}
	}
}

// maxCompressed is more than any encoder produces for raw bytes: a frame of uncompressed
// blocks of at least a kilobyte each.
func maxCompressed(raw int64) int64 { return raw + raw>>8 + 64 }

// take appends n bytes of the stream to s.comp.
func (f *frameReader) take(n int) error {
	have := len(f.s.comp)
	f.s.comp = slices.Grow(f.s.comp, n)[:have+n]
	return readFull(f.s.br, f.s.comp[have:])
}

// readFull is io.ReadFull, but the end of the stream becomes ErrCorrupt. Errors of the
// stream, such as a lost connection, stay unchanged.
func readFull(r io.Reader, b []byte) error {
	for len(b) > 0 {
		n, err := r.Read(b)
		if b = b[n:]; len(b) == 0 {
			return nil
		}
		if err == io.EOF {
			return corrupt("data ends %d bytes too early", len(b))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
