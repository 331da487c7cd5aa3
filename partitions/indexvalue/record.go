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
	recordSameCommit // as the record before it in the block
	recordLong       // in a block: the record has a separate key
)

// before has the numbers of the record before in a block. Those of the next record are
// stored as differences, which are small.
type before struct {
	modseq, commit uint64
	updated        int64
}

// AppendRecord appends everything of a record but its uid, which the key contains.
func AppendRecord(dst []byte, r *history.RecordState) []byte {
	return appendRecord(dst, &before{}, r)
}

func appendRecord(dst []byte, p *before, r *history.RecordState) []byte {
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
	if r.Commit == p.commit {
		f |= recordSameCommit
	}
	dst = append(dst, f)
	dst = append(dst, r.GUID[:]...)
	// The differences wrap around, also when they are read.
	dst = binary.AppendVarint(dst, int64(r.ModSeq-p.modseq))
	if r.Commit != p.commit {
		dst = binary.AppendVarint(dst, int64(r.Commit-p.commit))
	}
	dst = binary.AppendVarint(dst, r.LastUpdated-p.updated)
	dst = binary.AppendVarint(dst, r.LastUpdated-r.InternalDate)
	dst = binary.AppendUvarint(dst, uint64(r.Size))
	dst = binary.AppendUvarint(dst, uint64(len(r.Flags)))
	for _, s := range r.Flags {
		dst = appendWord(dst, flagTable[:], s)
	}
	if r.Expunged != 0 {
		dst = binary.AppendVarint(dst, r.Expunged)
	}
	if len(r.Annotations) > 0 {
		dst = binary.AppendUvarint(dst, uint64(len(r.Annotations)))
		for i := range r.Annotations {
			dst = appendAnnotation(dst, &r.Annotations[i])
		}
	}
	if len(r.Extra) > 0 {
		dst = appendPairs(dst, r.Extra)
	}
	p.follow(r)
	return dst
}

func (p *before) follow(r *history.RecordState) {
	p.modseq, p.commit, p.updated = r.ModSeq, r.Commit, r.LastUpdated
}

// ParseRecord reads the value of the record with this uid into r.
func ParseRecord(b []byte, uid uint32, r *history.RecordState) error {
	d := reader{b: b}
	f := d.flags(recordExpunged | recordGone | recordAnnotations | recordExtra | recordSameCommit)
	d.record(f, &before{}, uid, r)
	return d.end("record")
}

// record reads the rest of a record, whose flags are f.
func (r *reader) record(f byte, p *before, uid uint32, out *history.RecordState) {
	*out = history.RecordState{Gone: f&recordGone != 0, Commit: p.commit}
	out.UID = uid
	r.fill(out.GUID[:])
	out.ModSeq = p.modseq + uint64(r.varint())
	if f&recordSameCommit == 0 {
		out.Commit += uint64(r.varint())
	}
	out.LastUpdated = p.updated + r.varint()
	out.InternalDate = out.LastUpdated - r.varint()
	out.Size = uint32(r.number(math.MaxUint32))
	out.Flags = r.strings(r.count(1))
	for i := range out.Flags {
		out.Flags[i] = r.word(flagTable[:])
	}
	if f&recordExpunged != 0 {
		out.Expunged = r.varint()
	}
	if f&recordAnnotations != 0 {
		out.Annotations = make([]cyrus.Annotation, r.count(minAnnotation))
		for i := range out.Annotations {
			r.annotation(&out.Annotations[i])
		}
	}
	if f&recordExtra != 0 {
		out.Extra = r.pairs(nil, 0)
	}
	p.follow(out)
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
		a.Extra = r.pairs(nil, 0)
	}
}
