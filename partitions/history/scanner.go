package history

import "bytes"

// scanner reads JSON in the exact form that this package writes. At the first difference
// it sets ok to false and stops.
type scanner struct {
	b  []byte
	ok bool
}

// has consumes text if it comes next.
func (s *scanner) has(text string) bool {
	if !s.ok || len(s.b) < len(text) || string(s.b[:len(text)]) != text {
		return false
	}
	s.b = s.b[len(text):]
	return true
}

func (s *scanner) want(text string) { s.ok = s.has(text) }

// number reads up to 18 digits without leading zeros.
func (s *scanner) number() uint64 {
	var n uint64
	i := 0
	for i < len(s.b) && '0' <= s.b[i] && s.b[i] <= '9' {
		n = n*10 + uint64(s.b[i]-'0')
		i++
	}
	if !s.ok || i == 0 || i > 18 || (i > 1 && s.b[0] == '0') {
		s.ok = false
		return 0
	}
	s.b = s.b[i:]
	return n
}

func (s *scanner) hex(dst []byte) {
	n := 2 * len(dst)
	if !s.ok || len(s.b) < n || parseHex(dst, s.b[:n]) != nil {
		s.ok = false
		return
	}
	s.b = s.b[n:]
}

// text reads a quoted string without escapes.
func (s *scanner) text() []byte {
	if !s.has(`"`) {
		s.ok = false
		return nil
	}
	end := bytes.IndexByte(s.b, '"')
	if end < 0 || bytes.IndexByte(s.b[:end], '\\') >= 0 {
		s.ok = false
		return nil
	}
	t := s.b[:end]
	s.b = s.b[end+1:]
	return t
}

// object returns the bytes of the next object. It only counts braces.
func (s *scanner) object() []byte {
	depth, quoted := 0, false
	for i := 0; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case quoted:
		case c == '{':
			depth++
		case c == '}':
			if depth--; depth == 0 {
				raw := s.b[:i+1]
				s.b = s.b[i+1:]
				return raw
			}
		}
		if depth == 0 {
			break
		}
	}
	s.ok = false
	return nil
}
