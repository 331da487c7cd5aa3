package pack

import (
	"bytes"
)

// Shared reports whether the body is in a single frame that also holds other entries. Such a
// frame serves all of them: see DecodeFrame and Body.
func (e Entry) Shared() bool { return e.Skip > 0 }

// DecodeFrame decompresses the single frame comp, which is at off in its object, after a check
// of its header, and returns new memory that has been checked against the frame's checksum. The
// error is ErrCorrupt.
func DecodeFrame(comp []byte, off int64) ([]byte, error) {
	s := getScratch()
	defer s.release()
	s.br.Reset(bytes.NewReader(comp))
	f := frameReader{s: s, off: off}
	h, err := f.header()
	if err != nil {
		return nil, err
	}
	if err := f.body(h); err != nil {
		return nil, within(off, err)
	}
	if len(s.comp) != len(comp) {
		return nil, within(off, corrupt("frame of %d bytes, want %d", len(s.comp), len(comp)))
	}
	raw := make([]byte, h.FrameContentSize)
	if err := decodeFrame(raw, comp); err != nil {
		return nil, within(off, err)
	}
	return raw, nil
}

// Body returns the body of a shared entry as a part of its decompressed frame. The error is
// ErrCorrupt.
func (e Entry) Body(frame []byte) ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	if !e.Shared() || e.Raw > 0 && e.Raw != int64(len(frame)) {
		return nil, within(e.Off, corrupt("entry %s is not in a frame of %d bytes", e.Name, len(frame)))
	}
	b, err := e.small(frame)
	if err != nil {
		return nil, within(e.Off, err)
	}
	return b, nil
}

// small finds the body in a frame with many entries, after a header that must match the
// entry.
func (e Entry) small(raw []byte) ([]byte, error) {
	end := e.Skip + padded(e.Size)
	if end > int64(len(raw)) {
		return nil, corrupt("entry %s crosses the end of its frame", e.Name)
	}
	if h := tarHeader(e.Name, e.Size); !bytes.Equal(h[:], raw[e.Skip-tarBlock:e.Skip]) {
		return nil, corrupt("entry %s is not at %d in its frame", e.Name, e.Skip)
	}
	return unpad(raw[e.Skip:end], e.Size)
}
