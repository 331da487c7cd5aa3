package history

import (
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/internal/cyrus/exactjson"
)

// scanner reads the lines that this package writes, without reflection. If it fails, the caller
// must use encoding/json, which reads other forms and finds out what is wrong.
type scanner struct{ exactjson.Scanner }

// number reads up to 18 digits.
func (s *scanner) number() uint64 { return s.Number(1e18 - 1) }

// number32 reads a number that fits in 32 bits.
func (s *scanner) number32() uint32 { return uint32(s.Number(1<<32 - 1)) }

// text reads a string.
func (s *scanner) text() (text string) {
	if s.OK {
		text, s.B, s.OK = dlist.ScanJSONString(s.B)
	}
	return text
}

// textLike reads a string. It returns last if that is the same string, which saves memory
// for strings that many lines share.
func (s *scanner) textLike(last string) string {
	n := len(last)
	if s.OK && n > 0 && len(s.B) > n+1 && s.B[0] == '"' && s.B[n+1] == '"' && string(s.B[1:n+1]) == last && isPlain(last) {
		s.B = s.B[n+2:]
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
	if s.OK {
		pairs, s.B, s.OK = dlist.ScanJSONPairs(s.B)
	}
	return pairs
}

// time reads a time that appendTime has written.
func (s *scanner) time() (t time.Time) {
	if !s.OK || len(s.B) == 0 || s.B[0] != '"' {
		s.OK = false
		return t
	}
	for i, c := range s.B[1:] {
		if c == '"' {
			s.OK = t.UnmarshalJSON(s.B[:i+2]) == nil
			s.B = s.B[i+2:]
			return t.UTC()
		}
	}
	s.OK = false
	return t
}

func (s *scanner) record(j *cyrus.JSONScanner, r *cyrus.Record) {
	if s.OK {
		s.B, s.OK = j.Record(s.B, r)
	}
}
