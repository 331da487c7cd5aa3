package imapconf

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxBytes limits all files of one configuration together. A configuration has a few kilobytes; the
// limit catches an @include of the wrong file.
const maxBytes = 16 << 20

// entry is one "key: value" line.
type entry struct {
	Origin
	value string
}

// scanner reads a file and its includes into entries, in order.
type scanner struct {
	open    func(name string) (io.ReadCloser, error)
	seen    map[string]bool // file names as written
	left    int64           // bytes that may still be read
	entries []entry
	errs    []error
}

func newScanner(open func(string) (io.ReadCloser, error)) *scanner {
	return &scanner{open: open, seen: make(map[string]bool), left: maxBytes}
}

// opener opens files below prefix (CYRUS_PREFIX) if they exist there, otherwise by their own name.
func opener(prefix string) func(string) (io.ReadCloser, error) {
	return func(name string) (io.ReadCloser, error) {
		if prefix != "" {
			if f, err := os.Open(prefix + name); err == nil {
				return f, nil
			}
		}
		return os.Open(filepath.Clean(name))
	}
}

// file reads one file. at is the line that includes it, if any.
func (s *scanner) file(name string, at Origin) {
	if s.seen[name] {
		s.fail(at, "", "file %s is included twice", name)
		return
	}
	s.seen[name] = true
	f, err := s.open(name)
	if err != nil {
		s.fail(at, "", "open configuration file: %v", err)
		return
	}
	defer f.Close()
	s.lines(name, bufio.NewReader(f))
}

// lines joins continued lines and passes each to line. A backslash at the end of the file joins
// nothing. Cyrus then ignores the line; we keep it unchanged.
func (s *scanner) lines(name string, r *bufio.Reader) {
	var joined []byte
	for n := 1; ; n++ {
		piece, err := r.ReadBytes('\n')
		if s.left -= int64(len(piece)); s.left < 0 {
			s.fail(Origin{File: name, Line: n}, "", "more than %d bytes of configuration", maxBytes)
			return
		}
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			s.fail(Origin{File: name, Line: n}, "", "read: %v", err)
			return
		}
		text, whole := bytes.CutSuffix(piece, []byte("\n"))
		if whole && bytes.HasSuffix(text, []byte(`\`)) {
			joined = append(joined, text[:len(text)-1]...)
			continue
		}
		if joined = append(joined, text...); len(joined) > 0 {
			s.line(Origin{File: name, Line: n}, string(joined))
		}
		if end {
			return
		}
		joined = joined[:0]
	}
}

// line parses one complete line (config_read_file).
func (s *scanner) line(at Origin, text string) {
	text = strings.TrimLeft(text, blanks)
	if text == "" || text[0] == '#' {
		return
	}
	if strings.IndexByte(text, 0) >= 0 {
		s.fail(at, "", "a NUL byte in the line")
		return
	}
	end := 0
	for end < len(text) && (isKeyByte(text[end]) || end == 0 && text[end] == '@') {
		end++
	}
	key := strings.ToLower(text[:end])
	if end == len(text) || text[end] != ':' {
		// Show only the name: the rest may be a password.
		s.fail(at, key, "no \":\" right after the option's name (letters, digits, _ and -)")
		return
	}
	at.Key = key
	value := strings.Trim(text[end+1:], blanks)
	switch {
	case value == "":
		s.fail(at, "", "no value")
	case key == "@include":
		s.file(value, at)
	case key == "" || key[0] == '@':
		s.fail(at, "", "no such directive; there is only @include")
	default:
		s.entries = append(s.entries, entry{Origin: at, value: value})
	}
}

func (s *scanner) fail(at Origin, value, format string, args ...any) {
	s.errs = append(s.errs, &Error{Origin: at, Value: value, Problem: fmt.Sprintf(format, args...)})
}

func isKeyByte(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-' || c == '_'
}
