// Package exactjson reads JSON in the exact form that this software writes: members in one
// order, no white space. Most of the time of a replay goes into such lines, and this is several
// times faster than encoding/json, to which callers fall back for any other form.
package exactjson

// Scanner reads from the front of B. At the first difference from the expected form it sets OK
// to false; every method then does nothing.
type Scanner struct {
	B  []byte
	OK bool
}

// Over returns a Scanner of b.
func Over(b []byte) Scanner { return Scanner{B: b, OK: true} }

// Has consumes text if it comes next.
func (s *Scanner) Has(text string) bool {
	if !s.OK || len(s.B) < len(text) || string(s.B[:len(text)]) != text {
		return false
	}
	s.B = s.B[len(text):]
	return true
}

// Want is Has for text that must come next.
func (s *Scanner) Want(text string) { s.OK = s.Has(text) }

// Ended reports whether everything was read.
func (s *Scanner) Ended() bool { return s.OK && len(s.B) == 0 }

// Number reads a number without leading zeros that is at most limit.
func (s *Scanner) Number(limit uint64) uint64 {
	var n uint64
	i := 0
	for ; i < len(s.B) && '0' <= s.B[i] && s.B[i] <= '9'; i++ {
		c := uint64(s.B[i] - '0')
		if n > limit/10 || n*10 > limit-c {
			s.OK = false
			return 0
		}
		n = n*10 + c
	}
	if !s.OK || i == 0 || i > 1 && s.B[0] == '0' {
		s.OK = false
		return 0
	}
	s.B = s.B[i:]
	return n
}

// Hex fills dst from lower-case hexadecimal digits.
func (s *Scanner) Hex(dst []byte) {
	n := 2 * len(dst)
	if !s.OK || len(s.B) < n || !ParseHex(dst, s.B[:n]) {
		s.OK = false
		return
	}
	s.B = s.B[n:]
}

// ParseHex fills dst from exactly 2*len(dst) lower-case hexadecimal digits: a value has one form
// only, so that equal states have equal bytes. After false, dst is undefined.
func ParseHex(dst, src []byte) bool {
	if len(src) != 2*len(dst) {
		return false
	}
	for i := range dst {
		high, low := Digit(src[2*i]), Digit(src[2*i+1])
		if high|low > 15 {
			return false
		}
		dst[i] = high<<4 | low
	}
	return true
}

// Digit returns the value of a lower-case hexadecimal digit, 255 for any other byte.
func Digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}
