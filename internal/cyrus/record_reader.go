package cyrus

import (
	"fmt"
	"strconv"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// RecordReader reads the members of RECORD lists and reuses its memory for each. The zero
// value is ready for use.
type RecordReader struct {
	rec    Record
	flags  []string
	raw    []rawAnnotation
	text   []byte // the values of raw, one after another
	annots annotations
}

// Limits of the memory that is reused: bytes of the values of annotations, and numbers of the rest.
const (
	keptText        = 64 << 10
	keptFlags       = 1 << 10
	keptAnnotations = 256
)

// Trim frees the memory of the last record if it was large. The record is not valid any more.
func (rr *RecordReader) Trim() {
	if cap(rr.text) > keptText || cap(rr.flags) > keptFlags || cap(rr.raw) > keptAnnotations || len(rr.rec.Extra) > 0 {
		*rr = RecordReader{}
	}
}

// ReadRecord reads one member of a RECORD list from the stream, see RecordReader.Read.
func ReadRecord(d *dlist.Decoder) (*Record, error) {
	var rr RecordReader
	r, err := rr.Read(d)
	if err != nil {
		return nil, err
	}
	c := *r
	return &c, nil
}

// Read reads one member of a RECORD list from the stream. The record is valid until the next
// Read. All keys except ANNOTATIONS are mandatory (imap/sync_support.c, parse_upload). If a
// key is repeated, the first counts and the others go to Extra, like unknown keys. An error
// about a field wraps ErrBadParameters and names the uid if it was read.
func (rr *RecordReader) Read(d *dlist.Decoder) (*Record, error) {
	rr.rec = Record{}
	have, err := rr.fields(d)
	if err == nil {
		err = missingKey(have)
	}
	if err != nil {
		return nil, bad("RECORD uid "+strconv.FormatUint(uint64(rr.rec.UID), 10), err)
	}
	return &rr.rec, nil
}

// fields reads the fields of a record and returns the bits of the known ones.
func (rr *RecordReader) fields(d *dlist.Decoder) (have int, err error) {
	end := d.Offset() + maxRecord
	keys, err := d.Keys()
	if err != nil {
		return 0, err
	}
	for {
		key, ok, err := keys.Next()
		if !ok || err != nil {
			return have, err
		}
		bit := recordKey(key)
		if bit == 0 || have&bit != 0 {
			err = appendExtra(d, key, &rr.rec.Extra, end)
		} else {
			have |= bit
			err = rr.field(d, bit, end)
		}
		if err != nil {
			return have, err
		}
	}
}

func (rr *RecordReader) field(d *dlist.Decoder, bit int, end int64) (err error) {
	r := &rr.rec
	switch bit {
	case recUID:
		r.UID, err = d.Num32()
	case recModSeq:
		r.ModSeq, err = d.Num64()
	case recLastUpdated:
		r.LastUpdated, err = d.Date()
	case recFlags:
		err = rr.readFlags(d, end)
	case recInternalDate:
		r.InternalDate, err = d.Date()
	case recSize:
		r.Size, err = d.Num32()
	case recGUID:
		r.GUID, err = d.GUID()
	case recAnnotations:
		err = rr.readAnnotations(d, end)
	}
	return err
}

// within returns an error if a record has exceeded its maximum size.
func within(d *dlist.Decoder, end int64) error {
	if d.Offset() <= end {
		return nil
	}
	return &dlist.FieldError{Key: "RECORD", Msg: fmt.Sprintf("is longer than %d bytes", maxRecord)}
}

func (rr *RecordReader) readFlags(d *dlist.Decoder, end int64) error {
	members, err := d.Members()
	if err != nil {
		return err
	}
	rr.flags = rr.flags[:0]
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
		f, null, err := d.Name()
		if err == nil && (null || f == "") {
			err = &dlist.FieldError{Key: "FLAGS", Msg: "contains an empty flag"}
		}
		if err != nil {
			return err
		}
		if err := d.Hold(16); err != nil { // a string in a list
			return err
		}
		rr.flags = append(rr.flags, f)
	}
	if len(rr.flags) > 0 {
		rr.rec.Flags = rr.flags
	}
	return nil
}

func appendExtra(d *dlist.Decoder, key string, extra *[]dlist.Pair, end int64) error {
	if err := within(d, end); err != nil {
		return err
	}
	v, err := d.Value()
	if err != nil {
		return err
	}
	*extra = append(*extra, dlist.P(key, v))
	return nil
}
