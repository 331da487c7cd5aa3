package cyrus

import (
	"bytes"
	"encoding/hex"
	"strings"
)

// JSONScanner reads records in the JSON form that AppendJSON writes for ordinary records:
// members in its order, no white space, no escapes except \\, no extra members. The replay
// of a log spends most of its time here, and this is several times faster than
// encoding/json. Records with the same flags as the record before share the slice, so
// callers must not change it. The zero value is ready; nil shares nothing.
type JSONScanner struct {
	raw   []byte // the flags of the last record, with the closing bracket
	flags []string
}

// Record reads the record at the start of b, and returns the bytes after it. If it returns
// false, the caller must use UnmarshalJSON, and r is unchanged.
func (j *JSONScanner) Record(b []byte, r *Record) (rest []byte, ok bool) {
	s := scanner{b: b, ok: true}
	var n Record
	s.lit(`{"uid":`)
	n.UID = uint32(s.num(1<<32 - 1))
	s.lit(`,"modseq":"`)
	n.ModSeq = s.num(1<<64 - 1)
	s.lit(`","last_updated":`)
	n.LastUpdated = int64(s.num(1<<63 - 1))
	s.lit(`,"flags":[`)
	n.Flags = j.readFlags(&s)
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
	if !s.ok {
		return nil, false
	}
	*r = n
	return s.b, true
}

// readFlags reads the rest of an array of flags.
func (j *JSONScanner) readFlags(s *scanner) []string {
	if j == nil {
		return s.strings()
	}
	if s.ok && len(j.raw) > 0 && bytes.HasPrefix(s.b, j.raw) {
		s.b = s.b[len(j.raw):]
		return j.flags
	}
	before := s.b
	flags := s.strings()
	if s.ok {
		j.raw, j.flags = append(j.raw[:0], before[:len(before)-len(s.b)]...), flags
	}
	return flags
}

// scanRecord reads a record that fills b.
func scanRecord(b []byte, r *Record) bool {
	var n Record
	rest, ok := (*JSONScanner)(nil).Record(b, &n)
	if !ok || len(rest) > 0 {
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
	raw, escapes := s.quoted()
	if escapes > 0 {
		if string(raw) == `\\Seen` {
			return `\Seen` // nearly every record has this flag; a constant costs nothing
		}
		return strings.ReplaceAll(string(raw), `\\`, `\`)
	}
	return string(raw)
}

// quoted returns the bytes between the quotes, and the number of \\ among them.
func (s *scanner) quoted() (raw []byte, escapes int) {
	if !s.try(`"`) {
		s.ok = false
		return nil, 0
	}
	end := bytes.IndexByte(s.b, '"')
	if end < 0 {
		s.ok = false
		return nil, 0
	}
	raw = s.b[:end]
	s.b = s.b[end+1:]
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c < ' ' || c >= 0x7f:
			s.ok = false
			return nil, 0
		case c == '\\':
			if i++; i >= len(raw) || raw[i] != '\\' {
				s.ok = false
				return nil, 0
			}
			escapes++
		}
	}
	return raw, escapes
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

// scannedAnnotation is an annotation whose value is not yet allocated.
type scannedAnnotation struct {
	Annotation
	value string
	null  bool
}

// finishScanned converts annotations with one allocation for all values.
func finishScanned(raw []scannedAnnotation) []Annotation {
	var a annotations
	a.resize(len(raw))
	for i := range raw {
		a.set(i, raw[i].Annotation, raw[i].value, raw[i].null)
	}
	return a.list
}

// annotations reads the rest of an array of annotations, at least one.
func (s *scanner) annotations() []Annotation {
	var few [8]scannedAnnotation
	raw := few[:0]
	for s.ok {
		var a scannedAnnotation
		s.lit(`{"entry":`)
		a.Entry = s.entry()
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
			return finishScanned(raw)
		}
		s.lit(`,`)
	}
	return nil
}

// entry reads the name of an annotation. It shares the strings of annotations common to all
// records, which matters when a million records are in memory.
func (s *scanner) entry() string {
	before := s.b
	raw, escapes := s.quoted()
	switch string(raw) {
	case thridEntry:
		return thridEntry
	case "/vendor/cmu/cyrus-imapd/savedate":
		return "/vendor/cmu/cyrus-imapd/savedate"
	case "/vendor/cmu/cyrus-imapd/createdmodseq":
		return "/vendor/cmu/cyrus-imapd/createdmodseq"
	}
	if escapes > 0 {
		s.b = before
		return s.str()
	}
	return string(raw)
}
