package dlist

import (
	"unicode/utf8"

	"github.com/cyrusbackup/backupd/internal/cyrus/exactjson"
)

// ScanJSONString reads the string at the start of b, and returns the bytes after it. It
// reads exactly what AppendJSONString writes for UTF-8, without encoding/json, whose cost
// matters in a log with many lines. If it returns false, the caller must use JSONString,
// which also reads other forms.
func ScanJSONString(b []byte) (str string, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return "", nil, false
	}
	b = b[1:]
	ascii := true
	for i, c := range b {
		switch {
		case c == '"':
			if !ascii && !utf8.Valid(b[:i]) {
				return "", nil, false
			}
			return string(b[:i]), b[i+1:], true
		case c == '\\':
			return scanEscaped(b, i)
		case c < ' ':
			return "", nil, false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return "", nil, false
}

// scanEscaped reads a string after its quote. The first escape is at b[i].
func scanEscaped(b []byte, i int) (str string, rest []byte, ok bool) {
	out := append(make([]byte, 0, i+32), b[:i]...)
	for i < len(b) {
		switch c := b[i]; {
		case c == '"':
			return string(out), b[i+1:], utf8.Valid(out)
		case c == '\\':
			n, width := unescape(b[i+1:])
			if width == 0 {
				return "", nil, false
			}
			out = append(out, n)
			i += 1 + width
		case c < ' ':
			return "", nil, false
		default:
			out = append(out, c)
			i++
		}
	}
	return "", nil, false
}

// unescape returns the byte of an escape that appendEscaped writes, and the length of the
// escape after the backslash; 0 = another escape.
func unescape(b []byte) (c byte, width int) {
	if len(b) == 0 {
		return 0, 0
	}
	switch b[0] {
	case '"', '\\':
		return b[0], 1
	case 'n':
		return '\n', 1
	case 'r':
		return '\r', 1
	case 't':
		return '\t', 1
	}
	if len(b) < 5 || string(b[:3]) != "u00" {
		return 0, 0
	}
	high, low := exactjson.Digit(b[3]), exactjson.Digit(b[4])
	if high > 7 || low > 15 {
		return 0, 0
	}
	return high<<4 | low, 5
}

// ScanJSONPairs reads the pairs at the start of b, and returns the bytes after them, as
// ScanJSONString does for a string. It returns false for forms that it does not know, such
// as a file or a string that is not UTF-8.
func ScanJSONPairs(b []byte) (pairs []Pair, rest []byte, ok bool) {
	s := jsonScanner{exactjson.Over(b)}
	pairs = s.pairs(scanDepth)
	return pairs, s.B, s.OK
}

// scanDepth limits the depth of the values that are scanned.
const scanDepth = 8

// jsonScanner reads JSON in the form of AppendJSON.
type jsonScanner struct{ exactjson.Scanner }

func (s *jsonScanner) str() (str string) {
	if s.OK {
		str, s.B, s.OK = ScanJSONString(s.B)
	}
	return str
}

func (s *jsonScanner) pairs(depth int) []Pair {
	s.Want(`[`)
	var pairs []Pair
	for n := 0; s.OK && !s.Has(`]`); n++ {
		if n == 0 {
			pairs = make([]Pair, 0, 24) // the head of a mailbox has about as many
		} else {
			s.Want(`,`)
		}
		var p Pair
		s.Want(`[`)
		p.Key = s.str()
		s.Want(`,`)
		p.Value = s.value(depth)
		s.Want(`]`)
		pairs = append(pairs, p)
	}
	return pairs
}

func (s *jsonScanner) value(depth int) (v Value) {
	switch {
	case depth == 0 || len(s.B) == 0:
		s.OK = false
	case s.B[0] == '"':
		v = Value{Kind: String, Str: s.str()}
	case s.Has(`null`):
	case s.Has(`{"flag":`):
		v = Value{Kind: Flag, Str: s.str()}
		s.Want(`}`)
	case s.Has(`{"kv":`):
		v = Value{Kind: KVList, Pairs: s.pairs(depth - 1)}
		s.Want(`}`)
	case s.Has(`[`):
		v = Value{Kind: List, Items: s.items(depth - 1)}
	default:
		s.OK = false
	}
	return v
}

// items reads the rest of a list.
func (s *jsonScanner) items(depth int) (items []Value) {
	for s.OK && !s.Has(`]`) {
		if len(items) > 0 {
			s.Want(`,`)
		}
		items = append(items, s.value(depth))
	}
	return items
}
