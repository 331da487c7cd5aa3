package dlist

import "unicode/utf8"

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
	high, low := digit(b[3]), digit(b[4])
	if high > 7 || low > 15 {
		return 0, 0
	}
	return high<<4 | low, 5
}

// digit returns the value of a lower-case hex digit, 255 for any other byte.
func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// ScanJSONPairs reads the pairs at the start of b, and returns the bytes after them, as
// ScanJSONString does for a string. It returns false for forms that it does not know, such
// as a file or a string that is not UTF-8.
func ScanJSONPairs(b []byte) (pairs []Pair, rest []byte, ok bool) {
	s := jsonScanner{b: b, ok: true}
	pairs = s.pairs(scanDepth)
	return pairs, s.b, s.ok
}

// scanDepth limits the depth of the values that are scanned.
const scanDepth = 8

// jsonScanner reads JSON in the exact form of AppendJSON. At the first difference it sets ok
// to false and stops.
type jsonScanner struct {
	b  []byte
	ok bool
}

func (s *jsonScanner) has(text string) bool {
	if !s.ok || len(s.b) < len(text) || string(s.b[:len(text)]) != text {
		return false
	}
	s.b = s.b[len(text):]
	return true
}

func (s *jsonScanner) want(text string) { s.ok = s.has(text) }

func (s *jsonScanner) str() (str string) {
	if s.ok {
		str, s.b, s.ok = ScanJSONString(s.b)
	}
	return str
}

func (s *jsonScanner) pairs(depth int) []Pair {
	s.want(`[`)
	var pairs []Pair
	for n := 0; s.ok && !s.has(`]`); n++ {
		if n == 0 {
			pairs = make([]Pair, 0, 24) // the head of a mailbox has about as many
		} else {
			s.want(`,`)
		}
		var p Pair
		s.want(`[`)
		p.Key = s.str()
		s.want(`,`)
		p.Value = s.value(depth)
		s.want(`]`)
		pairs = append(pairs, p)
	}
	return pairs
}

func (s *jsonScanner) value(depth int) (v Value) {
	switch {
	case depth == 0 || len(s.b) == 0:
		s.ok = false
	case s.b[0] == '"':
		v = Value{Kind: String, Str: s.str()}
	case s.has(`null`):
	case s.has(`{"flag":`):
		v = Value{Kind: Flag, Str: s.str()}
		s.want(`}`)
	case s.has(`{"kv":`):
		v = Value{Kind: KVList, Pairs: s.pairs(depth - 1)}
		s.want(`}`)
	case s.has(`[`):
		v = Value{Kind: List, Items: s.items(depth - 1)}
	default:
		s.ok = false
	}
	return v
}

// items reads the rest of a list.
func (s *jsonScanner) items(depth int) (items []Value) {
	for s.ok && !s.has(`]`) {
		if len(items) > 0 {
			s.want(`,`)
		}
		items = append(items, s.value(depth))
	}
	return items
}
