package pack

import (
	"errors"
	"io"
)

var errClosed = errors.New("entry is closed")

// OpenEntry reads the body of an entry from frames, the e.Len bytes of the object at e.Off.
// It yields exactly e.Size bytes, each after its frame has been checked against its
// checksum, and then io.EOF, or it returns an error: ErrCorrupt, or an error of frames. It
// reads nothing before the first Read. The caller closes frames. Close frees the reader's
// memory: at most one frame, compressed and decompressed.
func OpenEntry(e Entry, frames io.Reader) io.ReadCloser {
	r := &entryReader{e: e, left: e.Size, src: io.LimitedReader{R: frames, N: e.Len}}
	r.err = e.check()
	return r
}

func (e Entry) check() error {
	switch {
	case CheckName(e.Name) != nil, e.Size < 0, e.Size > maxSize, e.Off < 0, e.Len <= 0, e.Skip < 0, e.Skip > maxFrame,
		e.Skip%tarBlock != 0, e.Skip == 0 && e.Size == 0:
		return corrupt("position of entry %q: size %d, offset %d, length %d, skip %d", e.Name, e.Size, e.Off, e.Len, e.Skip)
	}
	return nil
}

type entryReader struct {
	e      Entry
	src    io.LimitedReader
	frames frameReader // its scratch is nil before the first Read
	body   []byte      // not yet read
	left   int64       // of the body, not yet decompressed
	raw    int64       // bytes decompressed
	ended  bool        // all frames have been read
	err    error
}

func (r *entryReader) Read(p []byte) (int, error) {
	for len(r.body) == 0 && r.err == nil {
		if r.ended {
			r.err = io.EOF
		} else if err := r.fill(); err != nil {
			r.err = err
		}
	}
	if r.err != nil && len(r.body) == 0 {
		return 0, r.err
	}
	n := copy(p, r.body)
	r.body = r.body[n:]
	return n, nil
}

// fill decompresses the next frame.
func (r *entryReader) fill() error {
	if r.frames.s == nil {
		r.frames = frameReader{s: getScratch(), off: r.e.Off}
		r.frames.s.br.Reset(&r.src)
	}
	at := r.frames.off
	raw, err := r.frames.next()
	if err == io.EOF || errors.Is(err, errDirectory) {
		return within(at, corrupt("the frames of entry %s are too few", r.e.Name))
	}
	if err != nil {
		return err
	}
	r.raw += int64(len(raw))
	if r.e.Skip > 0 {
		r.body, err = r.e.small(raw)
	} else {
		r.body, err = r.large(raw)
	}
	if err != nil {
		return within(at, err)
	}
	if r.left -= int64(len(r.body)); r.left == 0 {
		return r.end()
	}
	return nil
}

// large reads one frame of a body.
func (r *entryReader) large(raw []byte) ([]byte, error) {
	if int64(len(raw)) > padded(r.left) {
		return nil, corrupt("the frames of entry %s do not end with it", r.e.Name)
	}
	return unpad(raw, min(r.left, int64(len(raw))))
}

// end checks that the frames end where the body ends.
func (r *entryReader) end() error {
	if r.frames.s.br.Buffered() > 0 || r.src.N > 0 || r.e.Raw > 0 && r.e.Raw != r.raw {
		return within(r.frames.off, corrupt("the frames of entry %s do not end with it", r.e.Name))
	}
	r.ended = true
	return nil
}

// Close never fails.
func (r *entryReader) Close() error {
	if r.frames.s != nil {
		r.frames.s.release()
	}
	r.frames.s, r.body, r.err = nil, nil, errClosed
	return nil
}

// unpad removes the zeros that fill the last block of a body.
func unpad(b []byte, size int64) ([]byte, error) {
	if !isZero(b[size:]) {
		return nil, corrupt("padding is not zero")
	}
	return b[:size], nil
}
