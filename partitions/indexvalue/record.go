package indexvalue

import (
	"encoding/binary"
	"math"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

const (
	recordExpunged = 1 << iota
	recordGone
	recordAnnotations
	recordExtra
)

// AppendRecord appends everything of a record but its uid, which the key contains.
func AppendRecord(dst []byte, r *history.RecordState) []byte {
	var f byte
	if r.Expunged != 0 {
		f |= recordExpunged
	}
	if r.Gone {
		f |= recordGone
	}
	if len(r.Annotations) > 0 {
		f |= recordAnnotations
	}
	if len(r.Extra) > 0 {
		f |= recordExtra
	}
	dst = append(dst, f)
	dst = append(dst, r.GUID[:]...)
	dst = binary.AppendUvarint(dst, r.ModSeq)
	dst = binary.AppendUvarint(dst, r.Commit)
	dst = binary.AppendVarint(dst, r.LastUpdated)
	dst = binary.AppendVarint(dst, r.LastUpdated-r.InternalDate) // wraps around, also when it is read
	dst = binary.AppendUvarint(dst, uint64(r.Size))
	dst = binary.AppendUvarint(dst, uint64(len(r.Flags)))
	for _, s := range r.Flags {
		dst = appendWord(dst, flagTable[:], s)
	}
	if f&recordExpunged != 0 {
		dst = binary.AppendVarint(dst, r.Expunged)
	}
	if f&recordAnnotations != 0 {
		dst = binary.AppendUvarint(dst, uint64(len(r.Annotations)))
		for i := range r.Annotations {
			dst = appendAnnotation(dst, &r.Annotations[i])
		}
	}
	if f&recordExtra != 0 {
		dst = appendPairs(dst, r.Extra)
	}
	return dst
}

// ParseRecord reads the value of the record with this uid into r.
func ParseRecord(b []byte, uid uint32, r *history.RecordState) error {
	d := reader{b: b}
	f := d.flags(recordExpunged | recordGone | recordAnnotations | recordExtra)
	*r = history.RecordState{Gone: f&recordGone != 0}
	r.UID = uid
	d.fill(r.GUID[:])
	r.ModSeq = d.uvarint()
	r.Commit = d.uvarint()
	r.LastUpdated = d.varint()
	r.InternalDate = r.LastUpdated - d.varint()
	r.Size = uint32(d.number(math.MaxUint32))
	if n := d.count(1); n > 0 {
		r.Flags = make([]string, n)
		for i := range r.Flags {
			r.Flags[i] = d.word(flagTable[:])
		}
	}
	if f&recordExpunged != 0 {
		r.Expunged = d.varint()
	}
	if f&recordAnnotations != 0 {
		r.Annotations = make([]cyrus.Annotation, d.count(minAnnotation))
		for i := range r.Annotations {
			d.annotation(&r.Annotations[i])
		}
	}
	if f&recordExtra != 0 {
		r.Extra = d.pairs(0)
	}
	return d.end("record")
}

const (
	annotationValue = 1 << iota
	annotationExtra
)

// minAnnotation is the number of bytes of the shortest annotation.
const minAnnotation = 4

func appendAnnotation(dst []byte, a *cyrus.Annotation) []byte {
	var f byte
	if a.Value != nil {
		f |= annotationValue
	}
	if len(a.Extra) > 0 {
		f |= annotationExtra
	}
	dst = append(dst, f)
	dst = appendWord(dst, entryTable[:], a.Entry)
	dst = appendText(dst, a.UserID)
	dst = binary.AppendUvarint(dst, a.ModSeq)
	if a.Value != nil {
		dst = appendText(dst, *a.Value)
	}
	if f&annotationExtra != 0 {
		dst = appendPairs(dst, a.Extra)
	}
	return dst
}

func (r *reader) annotation(a *cyrus.Annotation) {
	f := r.flags(annotationValue | annotationExtra)
	a.Entry = r.word(entryTable[:])
	a.UserID = r.text()
	a.ModSeq = r.uvarint()
	if f&annotationValue != 0 {
		v := r.text()
		a.Value = &v
	}
	if f&annotationExtra != 0 {
		a.Extra = r.pairs(0)
	}
}
