package cyrus

import (
	"bytes"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus/exactjson"
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
	s := scanner{exactjson.Over(b)}
	var n Record
	s.Want(`{"uid":`)
	n.UID = uint32(s.Number(1<<32 - 1))
	s.Want(`,"modseq":"`)
	n.ModSeq = s.Number(1<<64 - 1)
	s.Want(`","last_updated":`)
	n.LastUpdated = int64(s.Number(1<<63 - 1))
	s.Want(`,"flags":[`)
	n.Flags = j.readFlags(&s)
	s.Want(`,"internaldate":`)
	n.InternalDate = int64(s.Number(1<<63 - 1))
	s.Want(`,"size":`)
	n.Size = uint32(s.Number(1<<32 - 1))
	s.Want(`,"guid":"`)
	s.Hex(n.GUID[:])
	s.Want(`"`)
	if s.Has(`,"annotations":[`) {
		n.Annotations = s.annotations()
	}
	s.Want(`}`)
	if !s.OK {
		return nil, false
	}
	*r = n
	return s.B, true
}

// readFlags reads the rest of an array of flags.
func (j *JSONScanner) readFlags(s *scanner) []string {
	if j == nil {
		return s.strings()
	}
	if s.OK && len(j.raw) > 0 && bytes.HasPrefix(s.B, j.raw) {
		s.B = s.B[len(j.raw):]
		return j.flags
	}
	before := s.B
	flags := s.strings()
	if s.OK {
		j.raw, j.flags = append(j.raw[:0], before[:len(before)-len(s.B)]...), flags
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

type scanner struct{ exactjson.Scanner }

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
	if !s.Has(`"`) {
		s.OK = false
		return nil, 0
	}
	end := bytes.IndexByte(s.B, '"')
	if end < 0 {
		s.OK = false
		return nil, 0
	}
	raw = s.B[:end]
	s.B = s.B[end+1:]
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c < ' ' || c >= 0x7f:
			s.OK = false
			return nil, 0
		case c == '\\':
			if i++; i >= len(raw) || raw[i] != '\\' {
				s.OK = false
				return nil, 0
			}
			escapes++
		}
	}
	return raw, escapes
}

// strings reads the rest of an array of strings.
func (s *scanner) strings() []string {
	if s.Has(`]`) {
		return nil
	}
	out := make([]string, 0, 1+bytes.Count(s.B[:max(0, bytes.IndexByte(s.B, ']'))], []byte{','}))
	for s.OK {
		out = append(out, s.str())
		if s.Has(`]`) {
			return out
		}
		s.Want(`,`)
	}
	return nil
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
	for s.OK {
		var a scannedAnnotation
		s.Want(`{"entry":`)
		a.Entry = s.entry()
		s.Want(`,"userid":`)
		a.UserID = s.str()
		s.Want(`,"modseq":"`)
		a.ModSeq = s.Number(1<<64 - 1)
		s.Want(`","value":`)
		if a.null = s.Has(`null`); !a.null {
			a.value = s.str()
		}
		s.Want(`}`)
		raw = append(raw, a)
		if s.Has(`]`) {
			return finishScanned(raw)
		}
		s.Want(`,`)
	}
	return nil
}

// entry reads the name of an annotation. It shares the strings of annotations common to all
// records, which matters when a million records are in memory.
func (s *scanner) entry() string {
	before := s.B
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
		s.B = before
		return s.str()
	}
	return string(raw)
}
