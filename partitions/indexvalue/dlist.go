package indexvalue

import (
	"encoding/binary"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// maxDepth limits lists within lists. The limit on the wire is lower.
const maxDepth = 100

func appendPairs(dst []byte, pairs []dlist.Pair) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(pairs)))
	for i := range pairs {
		dst = appendWord(dst, keyTable[:], pairs[i].Key)
		dst = appendValue(dst, &pairs[i].Value)
	}
	return dst
}

func appendValue(dst []byte, v *dlist.Value) []byte {
	dst = append(dst, byte(v.Kind))
	switch v.Kind {
	case dlist.String, dlist.Flag:
		return appendText(dst, v.Str)
	case dlist.List:
		dst = binary.AppendUvarint(dst, uint64(len(v.Items)))
		for i := range v.Items {
			dst = appendValue(dst, &v.Items[i])
		}
	case dlist.KVList:
		return appendPairs(dst, v.Pairs)
	case dlist.File:
		dst = appendText(appendText(dst, v.File.Partition), v.File.GUID)
		return binary.AppendUvarint(dst, v.File.Size)
	case dlist.Nil:
	}
	return dst
}

// pairs returns nil for no pairs. It uses into if it is large enough.
func (r *reader) pairs(into []dlist.Pair, depth int) []dlist.Pair {
	n := r.count(2)
	if n == 0 {
		return nil
	}
	if cap(into) < n {
		into = make([]dlist.Pair, n)
	}
	into = into[:n]
	clear(into)
	for i := range into {
		into[i].Key = r.word(keyTable[:])
		r.value(&into[i].Value, depth)
	}
	return into
}

func (r *reader) value(v *dlist.Value, depth int) {
	if depth > maxDepth {
		r.fail()
		return
	}
	v.Kind = dlist.Kind(r.byte())
	switch v.Kind {
	case dlist.Nil:
	case dlist.String, dlist.Flag:
		v.Str = r.text()
	case dlist.List:
		n := r.count(1)
		if n > 0 {
			v.Items = make([]dlist.Value, n)
		}
		for i := range v.Items {
			r.value(&v.Items[i], depth+1)
		}
	case dlist.KVList:
		v.Pairs = r.pairs(nil, depth+1)
	case dlist.File:
		v.File = dlist.FileInfo{Partition: r.text(), GUID: r.text(), Size: r.uvarint()}
	default:
		r.fail()
	}
}
