package history

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// lines reads the lines of an entry, each one at most maxLine bytes.
type lines struct {
	r   *bufio.Reader
	buf []byte // for a line longer than r's buffer
	n   int    // lines so far
}

// The limits of a buffer for lines. Most commits have few lines, and a log has many commits.
const (
	leastLines = 1 << 10
	mostLines  = 64 << 10
)

// newLines reads lines of size bytes in total.
func newLines(r io.Reader, size int64) *lines {
	return &lines{r: bufio.NewReaderSize(r, int(min(max(size, leastLines), mostLines)))}
}

// next returns the next line without its newline, valid until the following call. It
// returns io.EOF after the last line.
func (l *lines) next() ([]byte, error) {
	part, err := l.r.ReadSlice('\n')
	if err == nil {
		l.n++
		return part[:len(part)-1], nil
	}
	l.buf = l.buf[:0]
	for errors.Is(err, bufio.ErrBufferFull) {
		l.buf = append(l.buf, part...)
		if len(l.buf) > maxLine {
			return nil, fmt.Errorf("%w: line %d is longer than %d bytes", ErrCorrupt, l.n+1, maxLine)
		}
		part, err = l.r.ReadSlice('\n')
	}
	switch {
	case err == nil:
		l.n++
		l.buf = append(l.buf, part...)
		return l.buf[:len(l.buf)-1], nil
	case errors.Is(err, io.EOF) && len(part)+len(l.buf) == 0:
		return nil, io.EOF
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: line %d has no newline", ErrCorrupt, l.n+1)
	}
	return nil, err
}

// each calls fn for each line. Errors include the line number.
func (l *lines) each(fn func(line []byte) error) error {
	for {
		line, err := l.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !utf8.Valid(line) {
			return fmt.Errorf("%w: line %d is not UTF-8", ErrCorrupt, l.n)
		}
		if err := fn(line); err != nil {
			return fmt.Errorf("line %d: %w", l.n, err)
		}
	}
}

// eachLineOf calls fn for each line of raw, like lines.each.
func eachLineOf(raw []byte, fn func(line []byte) error) error {
	for n := 1; len(raw) > 0; n++ {
		i := bytes.IndexByte(raw, '\n')
		switch {
		case i < 0:
			return fmt.Errorf("%w: line %d has no newline", ErrCorrupt, n)
		case i > maxLine:
			return fmt.Errorf("%w: line %d is longer than %d bytes", ErrCorrupt, n, maxLine)
		case !utf8.Valid(raw[:i]):
			return fmt.Errorf("%w: line %d is not UTF-8", ErrCorrupt, n)
		}
		if err := fn(raw[:i]); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		raw = raw[i+1:]
	}
	return nil
}
