package indexvalue

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrCorrupt reports bytes that are not a value of the expected kind.
var ErrCorrupt = errors.New("the value in the index is damaged")

// reader takes a value apart. After the first missing or wrong byte all its methods return
// zeros, and end returns an error.
type reader struct {
	b   []byte
	at  int
	str string // a copy of b that the texts refer to; "" until the first text
	bad bool

	list []string // memory for strings
	more int      // how many strings a new list has at least
}

func (r *reader) byte() byte {
	if r.at >= len(r.b) {
		r.bad = true
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

// flags reads a byte of which only the bits in known may be set.
func (r *reader) flags(known byte) byte {
	f := r.byte()
	if f&^known != 0 {
		r.bad = true
	}
	return f
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b[r.at:])
	if n <= 0 {
		r.fail()
		return 0
	}
	r.at += n
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b[r.at:])
	if n <= 0 {
		r.fail()
		return 0
	}
	r.at += n
	return v
}

// number reads a number that is at most limit.
func (r *reader) number(limit uint64) uint64 {
	v := r.uvarint()
	if v > limit {
		r.fail()
		return 0
	}
	return v
}

// count reads the number of items that follow, each of at least size bytes.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(r.rest()/size) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) fail() {
	r.bad, r.at = true, len(r.b)
}

func (r *reader) fill(dst []byte) {
	if len(r.b)-r.at < len(dst) {
		r.fail()
		return
	}
	r.at += copy(dst, r.b[r.at:])
}

// text returns a part of a copy of the value, so that all texts of a value share one
// allocation.
func (r *reader) text() string {
	n := r.count(1)
	if n == 0 {
		return ""
	}
	if r.str == "" {
		r.str = string(r.b)
	}
	r.at += n
	return r.str[r.at-n : r.at]
}

// strings returns n empty strings, nil for none. Lists share memory.
func (r *reader) strings(n int) []string {
	if n == 0 {
		return nil
	}
	at := len(r.list)
	if cap(r.list)-at < n {
		r.list, at = make([]string, 0, max(n, r.more)), 0
	}
	r.list = r.list[:at+n]
	return r.list[at : at+n : at+n]
}

// rest returns the number of bytes that are left.
func (r *reader) rest() int { return len(r.b) - r.at }

// whole reports whether the value was read to its end without a wrong byte.
func (r *reader) whole() bool { return !r.bad && r.rest() == 0 }

func (r *reader) end(what string) error {
	if r.whole() {
		return nil
	}
	return fmt.Errorf("%s: %w", what, ErrCorrupt)
}

func appendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// word reads a text that may be one of a table's: its position counts from 1, and 0 precedes
// any other text.
func (r *reader) word(table []string) string {
	n := r.number(uint64(len(table)))
	if n == 0 {
		return r.text()
	}
	return table[n-1]
}

func appendWord(dst []byte, table []string, s string) []byte {
	for i, w := range table {
		if w == s {
			return binary.AppendUvarint(dst, uint64(i+1))
		}
	}
	return appendText(append(dst, 0), s)
}
