package cyrus

import (
	"fmt"
	"strconv"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

const (
	recUID = 1 << iota
	recModSeq
	recLastUpdated
	recFlags
	recInternalDate
	recSize
	recGUID
	recAnnotations
)

// recordKey returns the bit of a key of RECORD, or 0 for an unknown key.
func recordKey(key string) int {
	switch key {
	case "UID":
		return recUID
	case "MODSEQ":
		return recModSeq
	case "LAST_UPDATED":
		return recLastUpdated
	case "FLAGS":
		return recFlags
	case "INTERNALDATE":
		return recInternalDate
	case "SIZE":
		return recSize
	case "GUID":
		return recGUID
	case "ANNOTATIONS":
		return recAnnotations
	}
	return 0
}

// maxRecord limits the size of a record on the wire, because the whole record is held in
// memory however many flags and annotations it has. Cyrus's records have a few hundred
// bytes.
const maxRecord = 32 << 20

func missingKey(have int) error {
	for _, key := range [...]string{"UID", "MODSEQ", "LAST_UPDATED", "FLAGS", "INTERNALDATE", "SIZE", "GUID"} {
		if have&recordKey(key) == 0 {
			return &dlist.FieldError{Key: key, Msg: "is missing"}
		}
	}
	return nil
}

// DList returns r as a member of a RECORD list, keys in Cyrus's order.
func (r *Record) DList() dlist.Value {
	flags := make([]dlist.Value, len(r.Flags))
	for i, f := range r.Flags {
		flags[i] = dlist.F(f)
	}
	pairs := make([]dlist.Pair, 0, 8+len(r.Extra))
	pairs = append(pairs,
		dlist.P("UID", dlist.N(uint64(r.UID))),
		dlist.P("MODSEQ", dlist.N(r.ModSeq)),
		dlist.P("LAST_UPDATED", dlist.N(uint64(r.LastUpdated))),
		dlist.P("FLAGS", dlist.Value{Kind: dlist.List, Items: flags}),
		dlist.P("INTERNALDATE", dlist.N(uint64(r.InternalDate))),
		dlist.P("SIZE", dlist.N(uint64(r.Size))),
		dlist.P("GUID", dlist.S(r.GUID.String())))
	if len(r.Annotations) > 0 {
		anns := make([]dlist.Value, len(r.Annotations))
		for i := range r.Annotations {
			anns[i] = r.Annotations[i].DList()
		}
		pairs = append(pairs, dlist.P("ANNOTATIONS", dlist.L(anns...)))
	}
	return dlist.KV(append(pairs, r.Extra...)...)
}

// AppendWire appends the same bytes as dlist.Append of DList, without building the Value.
// plus is as in dlist.Append: true for a client.
func (r *Record) AppendWire(dst []byte, plus bool) []byte {
	dst = append(dst, "%(UID "...)
	dst = strconv.AppendUint(dst, uint64(r.UID), 10)
	dst = append(dst, " MODSEQ "...)
	dst = strconv.AppendUint(dst, r.ModSeq, 10)
	dst = append(dst, " LAST_UPDATED "...)
	dst = strconv.AppendUint(dst, uint64(r.LastUpdated), 10)
	dst = append(dst, " FLAGS ("...)
	for i, f := range r.Flags {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = dlist.Append(dst, dlist.F(f), plus)
	}
	dst = append(dst, ") INTERNALDATE "...)
	dst = strconv.AppendUint(dst, uint64(r.InternalDate), 10)
	dst = append(dst, " SIZE "...)
	dst = strconv.AppendUint(dst, uint64(r.Size), 10)
	dst = append(dst, " GUID "...)
	dst = r.GUID.appendHex(dst)
	if len(r.Annotations) > 0 {
		dst = append(dst, " ANNOTATIONS ("...)
		for i := range r.Annotations {
			if i > 0 {
				dst = append(dst, ' ')
			}
			dst = r.Annotations[i].appendWire(dst, plus)
		}
		dst = append(dst, ')')
	}
	return appendExtraWire(dst, r.Extra, plus)
}

// appendExtraWire appends the unknown fields and closes the kvlist.
func appendExtraWire(dst []byte, extra []dlist.Pair, plus bool) []byte {
	for _, p := range extra {
		dst = append(dst, ' ')
		dst = dlist.AppendPair(dst, p, plus)
	}
	return append(dst, ')')
}

// String identifies the record in messages.
func (r *Record) String() string {
	return fmt.Sprintf("uid %d modseq %d guid %s", r.UID, r.ModSeq, r.GUID)
}
