package cyrus

import (
	"bytes"
	"encoding/hex"
	"strings"
)

// scanRecord reads the JSON that AppendJSON writes for an ordinary record: members in its
// order, no white space, no escapes except \\, no extra members. The replay of a log spends
// most of its time here, and this is several times faster than encoding/json. If it returns
// false, the caller must use encoding/json.
func scanRecord(b []byte, r *Record) bool {
	s := scanner{b: b, ok: true}
	var n Record
	s.lit(`{"uid":`)
	n.UID = uint32(s.num(1<<32 - 1))
	s.lit(`,"modseq":"`)
	n.ModSeq = s.num(1<<64 - 1)
	s.lit(`","last_updated":`)
	n.LastUpdated = int64(s.num(1<<63 - 1))
	s.lit(`,"flags":[`)
	n.Flags = s.strings()
	s.lit(`,"internaldate":`)
	n.InternalDate = int64(s.num(1<<63 - 1))
	s.lit(`,"size":`)
	n.Size = uint32(s.num(1<<32 - 1))
	s.lit(`,"guid":"`)
	s.guid(&n.GUID)
	s.lit(`"`)
	if s.try(`,"annotations":[`) {
		n.Annotations = s.annotations()
	}
	s.lit(`}`)
	if !s.ok || len(s.b) > 0 {
		return false
	}
	*r = n
	return true
}

type scanner struct {
	b  []byte
	ok bool
}

func (s *scanner) try(lit string) bool {
	if !s.ok || len(s.b) < len(lit) || string(s.b[:len(lit)]) != lit {
		return false
	}
	s.b = s.b[len(lit):]
	return true
}

func (s *scanner) lit(lit string) { s.ok = s.try(lit) }

func (s *scanner) num(max uint64) uint64 {
	var n uint64
	i := 0
	for ; i < len(s.b) && s.b[i] >= '0' && s.b[i] <= '9'; i++ {
		c := uint64(s.b[i] - '0')
		if n > max/10 || n*10 > max-c {
			s.ok = false
			return 0
		}
		n = n*10 + c
	}
	// JSON has no leading zeros.
	if i == 0 || i > 1 && s.b[0] == '0' {
		s.ok = false
	}
	s.b = s.b[i:]
	return n
}

// str reads "…" without escapes except \\, with which flags begin.
func (s *scanner) str() string {
	if !s.try(`"`) {
		s.ok = false
		return ""
	}
	end := bytes.IndexByte(s.b, '"')
	if end < 0 {
		s.ok = false
		return ""
	}
	raw := s.b[:end]
	s.b = s.b[end+1:]
	escapes := 0
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c < ' ' || c >= 0x7f:
			s.ok = false
			return ""
		case c == '\\':
			if i++; i >= len(raw) || raw[i] != '\\' {
				s.ok = false
				return ""
			}
			escapes++
		}
	}
	if escapes > 0 {
		if string(raw) == `\\Seen` {
			return `\Seen` // nearly every record has this flag; a constant costs nothing
		}
		return strings.ReplaceAll(string(raw), `\\`, `\`)
	}
	return string(raw)
}

// strings reads the rest of an array of strings.
func (s *scanner) strings() []string {
	if s.try(`]`) {
		return nil
	}
	out := make([]string, 0, 1+bytes.Count(s.b[:max(0, bytes.IndexByte(s.b, ']'))], []byte{','}))
	for s.ok {
		out = append(out, s.str())
		if s.try(`]`) {
			return out
		}
		s.lit(`,`)
	}
	return nil
}

func (s *scanner) guid(g *GUID) {
	if len(s.b) < 40 {
		s.ok = false
		return
	}
	if _, err := hex.Decode(g[:], s.b[:40]); err != nil {
		s.ok = false
	}
	s.b = s.b[40:]
}

// annotations reads the rest of an array of annotations, at least one.
func (s *scanner) annotations() []Annotation {
	var few [8]rawAnnotation
	raw := few[:0]
	for s.ok {
		var a rawAnnotation
		s.lit(`{"entry":`)
		a.Entry = knownEntry(s.str())
		s.lit(`,"userid":`)
		a.UserID = s.str()
		s.lit(`,"modseq":"`)
		a.ModSeq = s.num(1<<64 - 1)
		s.lit(`","value":`)
		if a.null = s.try(`null`); !a.null {
			a.value = s.str()
		}
		s.lit(`}`)
		raw = append(raw, a)
		if s.try(`]`) {
			return finish(raw)
		}
		s.lit(`,`)
	}
	return nil
}

// knownEntry shares the strings of annotations common to all records, which matters when a
// million records are in memory.
func knownEntry(s string) string {
	switch s {
	case thridEntry:
		return thridEntry
	case "/vendor/cmu/cyrus-imapd/savedate":
		return "/vendor/cmu/cyrus-imapd/savedate"
	case "/vendor/cmu/cyrus-imapd/createdmodseq":
		return "/vendor/cmu/cyrus-imapd/createdmodseq"
	}
	return s
}
