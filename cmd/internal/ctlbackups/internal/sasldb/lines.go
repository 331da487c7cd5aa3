package sasldb

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

const (
	// maxLine is twice the size of the longest key that libsasl reads, since a dump has two digits for a byte
	// (cyrus-sasl, sasldb/allockey.c: _sasldb_listusers).
	maxLine = 2*32768 + 2
	// maxDump limits the dump: some 200,000 users.
	maxDump = 64 << 20
)

// lines reads the lines of a dump.
type lines struct {
	r      *bufio.Reader
	number int
	left   int
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, maxLine), left: maxDump} }

// peek returns the bytes that Recognise needs, or what there is.
func (l *lines) peek() []byte {
	b, _ := l.r.Peek(MagicSize) // an error comes back from next
	return b
}

// next returns the next line, without its end. The error is io.EOF after the last one.
func (l *lines) next() (string, error) {
	b, err := l.r.ReadSlice('\n')
	l.number++
	l.left -= len(b)
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", l.fault("it is longer than %d bytes", maxLine)
	case l.left < 0:
		return "", l.fault("the dump is larger than %d bytes", maxDump)
	case err == io.EOF && len(b) > 0:
		return "", l.fault("the dump is truncated")
	case err == io.EOF:
		return "", io.EOF
	case err != nil:
		return "", fmt.Errorf("line %d: %w", l.number, err)
	}
	b = b[:len(b)-1]
	if n := len(b); n > 0 && b[n-1] == '\r' {
		b = b[:n-1]
	}
	return string(b), nil
}

// more returns the next line of a dump that is not complete without it.
func (l *lines) more() (string, error) {
	s, err := l.next()
	if err == io.EOF {
		return "", l.fault("the dump is truncated")
	}
	return s, err
}

func (l *lines) fault(text string, args ...any) error {
	return fmt.Errorf("line %d: %s", l.number, fmt.Sprintf(text, args...))
}
