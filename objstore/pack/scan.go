package pack

import (
	"bytes"
	"errors"
	"io"
)

// Scan reads a whole object from its start and calls fn for each entry, in order, with a
// body that is valid until fn returns. The unread part of the body is skipped. Scan does
// not need the directory to find the entries and only compares them with it at the end, so
// an object with a lost end yields the remaining entries and then ErrCorrupt. It holds one
// frame in memory, and at the end the directory. An error of fn ends it and is returned
// unchanged, and so are errors of r.
func Scan(r io.Reader, fn func(name string, size int64, body io.Reader) error) error {
	s := scanner{frames: frameReader{s: getScratch()}}
	defer s.frames.s.release()
	s.frames.s.br.Reset(r)
	for {
		name, size, err := s.header()
		if err == io.EOF {
			return s.end()
		}
		if err != nil {
			return err
		}
		b := &scanBody{s: &s, left: size}
		err = fn(name, size, b)
		if err == nil {
			err = b.skip()
		}
		b.s = nil
		if err != nil {
			return err
		}
		s.count++
	}
}

// scanner reads the archive as a stream.
type scanner struct {
	frames frameReader
	raw    []byte // of the frame, not yet read
	count  int
	err    error // of the frames; permanent
}

// more makes sure that raw is not empty.
func (s *scanner) more() error {
	for len(s.raw) == 0 && s.err == nil {
		at := s.frames.off
		s.raw, s.err = s.frames.next()
		if s.err == io.EOF || errors.Is(s.err, errDirectory) {
			s.err = within(at, corrupt("the archive ends too early"))
		}
	}
	if len(s.raw) == 0 {
		return s.err
	}
	return nil
}

// header reads the header of the next entry; io.EOF is the end of the archive.
func (s *scanner) header() (name string, size int64, err error) {
	if err := s.more(); err != nil {
		return "", 0, err
	}
	h := s.raw[:tarBlock] // frames consist of whole blocks
	if isZero(h) {
		if len(s.raw) != tarEnd || !isZero(s.raw) {
			return "", 0, corrupt("frame before %d: the archive does not end with its frame", s.frames.off)
		}
		return "", 0, io.EOF
	}
	s.raw = s.raw[tarBlock:]
	return parseTarHeader(h)
}

// end reads the directory and checks that nothing follows.
func (s *scanner) end() error {
	data := s.frames.off
	if _, err := s.frames.header(); !errors.Is(err, errDirectory) {
		if err == nil || err == io.EOF || errors.Is(err, ErrCorrupt) {
			return within(data, corrupt("no directory follows the archive"))
		}
		return err
	}
	var b bytes.Buffer
	n, err := b.ReadFrom(io.LimitReader(s.frames.s.br, maxDirectory+1))
	if err != nil {
		return err
	}
	if n > maxDirectory || n < skippableHead+trailerSize {
		return within(data, corrupt("directory of %d bytes", n))
	}
	length, err := directoryLength(b.Bytes(), data+n)
	if err != nil {
		return err
	}
	if length != n {
		return within(data, corrupt("directory of %d bytes states a length of %d", n, length))
	}
	d, err := parseDirectory(b.Bytes(), data)
	if err != nil {
		return err
	}
	if len(d.Entries) != s.count {
		return corrupt("directory of %d entries, but the archive has %d", len(d.Entries), s.count)
	}
	return nil
}

// scanBody is the body of one entry.
type scanBody struct {
	s    *scanner // nil after fn has returned
	left int64
}

func (b *scanBody) Read(p []byte) (int, error) {
	if b.s == nil {
		return 0, errClosed
	}
	chunk, err := b.next(int64(len(p)))
	return copy(p, chunk), err
}

// next reads up to n bytes of the body from the stream.
func (b *scanBody) next(n int64) ([]byte, error) {
	if b.left == 0 {
		return nil, io.EOF
	}
	if err := b.s.more(); err != nil {
		return nil, err
	}
	n = min(n, b.left, int64(len(b.s.raw)))
	chunk := b.s.raw[:n]
	b.s.raw = b.s.raw[n:]
	if b.left -= n; b.left > 0 {
		return chunk, nil
	}
	return chunk, b.padding()
}

// padding skips the zeros that fill the last block. They are in the last frame of the body,
// because frames begin and end between blocks.
func (b *scanBody) padding() error {
	n := len(b.s.raw) % tarBlock
	if !isZero(b.s.raw[:n]) {
		b.s.err = corrupt("frame before %d: padding is not zero", b.s.frames.off)
		b.s.raw = nil
		return b.s.err
	}
	b.s.raw = b.s.raw[n:]
	return nil
}

// skip skips the rest.
func (b *scanBody) skip() error {
	for {
		if _, err := b.next(maxFrame); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}
