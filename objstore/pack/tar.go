package pack

import (
	"bytes"
	"encoding/binary"
)

const (
	tarBlock = 512
	tarEnd   = 2 * tarBlock // zero bytes that end an archive
	// maxSize is the largest body that fits in the eleven octal digits of a ustar header.
	maxSize = 1<<33 - 1
)

// tarHeader is the ustar header of an entry. It depends only on name and size, so a reader
// checks a header by making it again.
func tarHeader[T string | []byte](name T, size int64) (h [tarBlock]byte) {
	copy(h[0:100], name) // the longest allowed name has 86 bytes
	copy(h[100:], "0000644\x000000000\x000000000\x00")
	octal(h[124:135], size)
	octal(h[136:147], 0)
	copy(h[148:], "        0")
	copy(h[257:], "ustar\x0000")
	copy(h[329:], "0000000\x000000000\x00")
	var sum int64
	for _, c := range h[:345] { // the rest is zero
		sum += int64(c)
	}
	octal(h[148:154], sum)
	h[154] = 0 // and the following space stays
	return h
}

// octal writes v over all of b.
func octal(b []byte, v int64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = '0' + byte(v&7)
		v >>= 3
	}
}

// parseTarHeader reads a header and refuses any header that differs from tarHeader's.
func parseTarHeader(h []byte) (name string, size int64, err error) {
	n := bytes.IndexByte(h[:100], 0)
	if n < 0 {
		return "", 0, corrupt("name of entry without an end")
	}
	name = string(h[:n])
	if err := CheckName(name); err != nil {
		return "", 0, corrupt("%v", err)
	}
	for _, c := range h[124:135] {
		if c < '0' || c > '7' {
			return "", 0, corrupt("size of entry %s is not a number", name)
		}
		size = size<<3 | int64(c-'0')
	}
	if want := tarHeader(name, size); !bytes.Equal(h, want[:]) {
		return "", 0, corrupt("header of entry %s", name)
	}
	return name, size, nil
}

// padded is the length of a body in the archive: whole blocks.
func padded(size int64) int64 { return (size + tarBlock - 1) &^ (tarBlock - 1) }

func isZero(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if binary.NativeEndian.Uint64(b) != 0 {
			return false
		}
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
