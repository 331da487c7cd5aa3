package indexvalue

import (
	"encoding/binary"
	"math/bits"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// longRecord is the number of bytes from which on a record has a separate key. A change of
// one record writes its whole block, and a value of the index must not be too long.
const longRecord = 1024

// Block has the records of a mailbox whose uids share all but the last bits.
type Block struct {
	Records [index.BlockRecords]*history.RecordState // nil: not here
	Long    uint32                                   // bit i: the record with position i has a separate key
}

// bits returns which records the block has, here or under their own keys. Bit i is position i.
func (b *Block) bits() uint32 {
	has := b.Long
	for i, r := range b.Records {
		if r != nil {
			has |= 1 << i
		}
	}
	return has
}

// Empty reports whether there is no record.
func (b *Block) Empty() bool { return b.bits() == 0 }

// AppendBlock appends the records of a block, without their uids.
func AppendBlock(dst []byte, b *Block) []byte {
	has := b.bits()
	dst = binary.BigEndian.AppendUint32(dst, has)
	var p before
	for ; has != 0; has &= has - 1 {
		i := bits.TrailingZeros32(has)
		if b.Long>>i&1 != 0 {
			dst = append(dst, recordLong)
			continue
		}
		dst = appendRecord(dst, &p, b.Records[i])
	}
	return dst
}

// ParseBlock reads a block whose first possible uid is first.
func ParseBlock(v []byte, first uint32, b *Block) error {
	var d BlockReader
	d.Reset(v, first)
	*b = Block{}
	records := make([]history.RecordState, bits.OnesCount32(d.has))
	for n := range records {
		uid, long, ok := d.next(&records[n])
		switch i := uid % index.BlockRecords; {
		case !ok:
		case long:
			b.Long |= 1 << i
		default:
			b.Records[i] = &records[n]
		}
	}
	return d.End()
}

// BlockReader reads the records of a block one after another, without memory for each.
type BlockReader struct {
	d     reader
	has   uint32 // the records that are left
	first uint32
	p     before
}

// Reset begins with the value of a block whose first possible uid is first.
func (b *BlockReader) Reset(v []byte, first uint32) {
	b.d = reader{b: v, list: b.d.list[:0], more: index.BlockRecords}
	b.first, b.p = first, before{}
	b.has = b.d.uint32()
}

// Next reads the next record. r is valid until the next call. ok is false at the end. long
// means that the record has a separate key, and r is not set.
func (b *BlockReader) Next(r *history.RecordState) (uid uint32, long, ok bool) {
	b.d.list = b.d.list[:0]
	return b.next(r)
}

func (b *BlockReader) next(r *history.RecordState) (uid uint32, long, ok bool) {
	if b.has == 0 || b.d.bad {
		return 0, false, false
	}
	uid = b.first + uint32(bits.TrailingZeros32(b.has))
	b.has &= b.has - 1
	f := b.d.flags(recordExpunged | recordGone | recordAnnotations | recordExtra | recordSameCommit | recordLong)
	if f&recordLong != 0 {
		if f != recordLong {
			b.d.fail()
		}
		return uid, true, !b.d.bad
	}
	b.d.record(f, &b.p, uid, r)
	return uid, false, !b.d.bad
}

// End returns an error if the value is not a block, or was not read to its end.
func (b *BlockReader) End() error {
	if b.has != 0 {
		b.d.fail()
	}
	return b.d.end("records")
}

// IsLong reports whether a record is too long for a block.
func IsLong(r *history.RecordState) bool {
	n := 0
	for _, s := range r.Flags {
		n += 2 + len(s)
	}
	for i := range r.Annotations {
		a := &r.Annotations[i]
		n += minAnnotation + len(a.Entry) + len(a.UserID)
		if a.Value != nil {
			n += len(*a.Value)
		}
		if len(a.Extra) > 0 {
			n += len(appendPairs(nil, a.Extra))
		}
	}
	if len(r.Extra) > 0 {
		n += len(appendPairs(nil, r.Extra))
	}
	return n >= longRecord
}
