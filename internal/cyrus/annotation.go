package cyrus

import (
	"strconv"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// rawAnnotation is an annotation whose value is not yet allocated.
type rawAnnotation struct {
	Annotation
	value string
	has   uint8 // keys seen, see the bits below
	null  bool
}

const (
	hasEntry = 1 << iota
	hasUserID
	hasModSeq
	hasValue
)

// readAnnotations reads an ANNOTATIONS list from the stream.
func readAnnotations(d *dlist.Decoder, end int64) ([]Annotation, error) {
	var few [8]rawAnnotation // a typical record has two to four
	raw := few[:0]
	err := d.List(func() error {
		if err := within(d, end); err != nil {
			return err
		}
		raw = append(raw, rawAnnotation{})
		a := &raw[len(raw)-1]
		if err := d.KVList(func(key string) error { return a.read(d, key, end) }); err != nil {
			return err
		}
		return a.complete()
	})
	if err != nil || len(raw) == 0 {
		return nil, err
	}
	return finish(raw), nil
}

// finish converts raw annotations with one allocation for all values.
func finish(raw []rawAnnotation) []Annotation {
	anns, values := make([]Annotation, len(raw)), make([]string, len(raw))
	for i := range raw {
		anns[i], values[i] = raw[i].Annotation, raw[i].value
		if !raw[i].null {
			anns[i].Value = &values[i]
		}
	}
	return anns
}

func (a *rawAnnotation) read(d *dlist.Decoder, key string, end int64) (err error) {
	var bit uint8
	switch key {
	case "ENTRY":
		bit = hasEntry
	case "USERID":
		bit = hasUserID
	case "MODSEQ":
		bit = hasModSeq
	case "VALUE":
		bit = hasValue
	}
	if bit == 0 || a.has&bit != 0 {
		return appendExtra(d, key, &a.Extra, end)
	}
	a.has |= bit
	switch bit {
	case hasEntry:
		a.Entry, _, err = d.Name()
	case hasUserID:
		a.UserID, _, err = d.Name()
	case hasModSeq:
		a.ModSeq, err = d.Num64()
	case hasValue:
		a.value, a.null, err = d.Text()
	}
	return err
}

// complete reports missing keys. Cyrus requires all four keys (imap/sync_support.c,
// decode_annotations); a missing MODSEQ is harmless here.
func (a *rawAnnotation) complete() error {
	switch {
	case a.has&hasEntry == 0:
		return &dlist.FieldError{Key: "ENTRY", Msg: "is missing"}
	case a.has&hasUserID == 0:
		return &dlist.FieldError{Key: "USERID", Msg: "is missing"}
	case a.has&hasValue == 0:
		return &dlist.FieldError{Key: "VALUE", Msg: "is missing"}
	}
	return nil
}

// ParseAnnotations reads the members of an ANNOTATIONS list. An error wraps ErrBadParameters.
func ParseAnnotations(items []dlist.Value) ([]Annotation, error) {
	var out []Annotation
	for _, it := range items {
		f := fieldsOf("ANNOTATIONS", it)
		a := Annotation{Entry: f.text("ENTRY"), UserID: f.text("USERID"), Value: f.buf("VALUE")}
		a.ModSeq, _, _ = it.Num64("MODSEQ")
		if f.err != nil {
			return nil, bad("ANNOTATIONS", f.err)
		}
		a.Extra = without(it.Pairs, "ENTRY", "USERID", "MODSEQ", "VALUE")
		out = append(out, a)
	}
	return out, nil
}

// DList returns a as a member of an ANNOTATIONS list.
func (a *Annotation) DList() dlist.Value {
	pairs := make([]dlist.Pair, 0, 4+len(a.Extra))
	pairs = append(pairs, dlist.P("ENTRY", dlist.S(a.Entry)), dlist.P("USERID", dlist.S(a.UserID)),
		dlist.P("MODSEQ", dlist.N(a.ModSeq)), dlist.P("VALUE", nullable(a.Value)))
	return dlist.KV(append(pairs, a.Extra...)...)
}

// appendWire appends the same bytes as dlist.Append of DList.
func (a *Annotation) appendWire(dst []byte, plus bool) []byte {
	dst = append(dst, "%(ENTRY "...)
	dst = dlist.AppendString(dst, a.Entry, plus)
	dst = append(dst, " USERID "...)
	dst = dlist.AppendString(dst, a.UserID, plus)
	dst = append(dst, " MODSEQ "...)
	dst = strconv.AppendUint(dst, a.ModSeq, 10)
	dst = append(dst, " VALUE "...)
	dst = dlist.Append(dst, nullable(a.Value), plus)
	return appendExtraWire(dst, a.Extra, plus)
}

func nullable(s *string) dlist.Value {
	if s == nil {
		return dlist.Value{}
	}
	return dlist.S(*s)
}
