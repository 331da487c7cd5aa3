package cyrus

import (
	"slices"
	"strconv"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// rawAnnotation is an annotation whose value is not yet a string.
type rawAnnotation struct {
	Annotation
	from, to int   // the value in RecordReader.text
	has      uint8 // keys seen, see the bits below
	null     bool
}

const (
	hasEntry = 1 << iota
	hasUserID
	hasModSeq
	hasValue
)

// annotations holds annotations and the strings that their values point to.
type annotations struct {
	list   []Annotation
	values []string
}

// resize makes room for n annotations, which are not yet set.
func (a *annotations) resize(n int) {
	a.list = slices.Grow(a.list[:0], n)[:n]
	a.values = slices.Grow(a.values[:0], n)[:n]
}

// set sets the i-th annotation. null gives it no value.
func (a *annotations) set(i int, an Annotation, value string, null bool) {
	a.values[i], an.Value = value, nil
	if !null {
		an.Value = &a.values[i]
	}
	a.list[i] = an
}

// readAnnotations reads an ANNOTATIONS list from the stream.
func (rr *RecordReader) readAnnotations(d *dlist.Decoder, end int64) error {
	members, err := d.Members()
	if err != nil {
		return err
	}
	rr.raw, rr.text = rr.raw[:0], rr.text[:0]
	for {
		ok, err := members.Next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if err := within(d, end); err != nil {
			return err
		}
		if err := d.Hold(256); err != nil { // a rawAnnotation and an Annotation
			return err
		}
		rr.raw = append(rr.raw, rawAnnotation{})
		if err := rr.readAnnotation(d, &rr.raw[len(rr.raw)-1], end); err != nil {
			return err
		}
	}
	rr.finishAnnotations()
	return nil
}

// finishAnnotations makes the strings of all values with one allocation.
func (rr *RecordReader) finishAnnotations() {
	if len(rr.raw) == 0 {
		return
	}
	text := string(rr.text)
	rr.annots.resize(len(rr.raw))
	for i := range rr.raw {
		raw := &rr.raw[i]
		rr.annots.set(i, raw.Annotation, text[raw.from:raw.to], raw.null)
	}
	rr.rec.Annotations = rr.annots.list
}

func (rr *RecordReader) readAnnotation(d *dlist.Decoder, a *rawAnnotation, end int64) error {
	keys, err := d.Keys()
	if err != nil {
		return err
	}
	for {
		key, ok, err := keys.Next()
		if err != nil {
			return err
		}
		if !ok {
			return a.complete()
		}
		if err := rr.readAnnotationField(d, a, key, end); err != nil {
			return err
		}
	}
}

func (rr *RecordReader) readAnnotationField(d *dlist.Decoder, a *rawAnnotation, key string, end int64) (err error) {
	bit := annotationKey(key)
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
		b, kind, err := d.Scalar()
		if err == nil {
			err = d.Hold(2 * int64(len(b))) // in text, and in the string made of it
		}
		if err != nil {
			return err
		}
		a.from, a.null = len(rr.text), kind == dlist.Nil
		rr.text = append(rr.text, b...)
		a.to = len(rr.text)
		return nil
	}
	return err
}

func annotationKey(key string) uint8 {
	switch key {
	case "ENTRY":
		return hasEntry
	case "USERID":
		return hasUserID
	case "MODSEQ":
		return hasModSeq
	case "VALUE":
		return hasValue
	}
	return 0
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
