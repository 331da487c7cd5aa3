package history

import (
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// scanner reads JSON in the exact form that this package writes, without reflection. At the
// first difference it sets ok to false and stops. Then the caller must use encoding/json,
// which reads other forms and finds out what is wrong.
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

// ended reports whether the whole line was read.
func (s *scanner) ended() bool { return s.ok && len(s.b) == 0 }

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

// number32 reads a number that fits in 32 bits.
func (s *scanner) number32() uint32 {
	n := s.number()
	if n > 1<<32-1 {
		s.ok = false
	}
	return uint32(n)
}

func (s *scanner) hex(dst []byte) {
	n := 2 * len(dst)
	if !s.ok || len(s.b) < n || parseHex(dst, s.b[:n]) != nil {
		s.ok = false
		return
	}
	s.b = s.b[n:]
}

// text reads a string.
func (s *scanner) text() (text string) {
	if s.ok {
		text, s.b, s.ok = dlist.ScanJSONString(s.b)
	}
	return text
}

// textLike reads a string. It returns last if that is the same string, which saves memory
// for strings that many lines share.
func (s *scanner) textLike(last string) string {
	n := len(last)
	if s.ok && n > 0 && len(s.b) > n+1 && s.b[0] == '"' && s.b[n+1] == '"' && string(s.b[1:n+1]) == last && isPlain(last) {
		s.b = s.b[n+2:]
		return last
	}
	return s.text()
}

// isPlain reports whether the JSON form of a string is the string itself in quotes.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func (s *scanner) pairs() (pairs []dlist.Pair) {
	if s.ok {
		pairs, s.b, s.ok = dlist.ScanJSONPairs(s.b)
	}
	return pairs
}

// time reads a time that appendTime has written.
func (s *scanner) time() (t time.Time) {
	if !s.ok || len(s.b) == 0 || s.b[0] != '"' {
		s.ok = false
		return t
	}
	for i, c := range s.b[1:] {
		if c == '"' {
			s.ok = t.UnmarshalJSON(s.b[:i+2]) == nil
			s.b = s.b[i+2:]
			return t.UTC()
		}
	}
	s.ok = false
	return t
}

func (s *scanner) record(j *cyrus.JSONScanner, r *cyrus.Record) {
	if s.ok {
		s.b, s.ok = j.Record(s.b, r)
	}
}
