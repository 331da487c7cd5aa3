package objstore

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	maxKey       = 1024 // bytes, S3's limit, including a partition's prefix
	maxComponent = 255  // bytes, the limit of a file name
)

// CheckKey checks that every kind of store can hold the key: valid UTF-8 of at most 1024
// bytes without control characters, in components of 1 to 255 bytes separated by single
// slashes, none of them "." or "..". The error wraps ErrKey.
func CheckKey(key string) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("%w: %d bytes, allowed are 1 to %d", ErrKey, len(key), maxKey)
	}
	if !utf8.ValidString(key) {
		return fmt.Errorf("%w: not UTF-8", ErrKey)
	}
	for _, c := range []byte(key) {
		if c < 0x20 || c == 0x7f {
			return fmt.Errorf("%w: control character", ErrKey)
		}
	}
	for part := range strings.SplitSeq(key, "/") {
		switch {
		case part == "" || part == "." || part == "..":
			return fmt.Errorf("%w: component %q", ErrKey, part)
		case len(part) > maxComponent:
			return fmt.Errorf("%w: component of %d bytes, allowed are at most %d", ErrKey, len(part), maxComponent)
		}
	}
	return nil
}

// Span resolves off and n of Get for an object of size bytes: the start and the length of
// the answer, or ErrRange.
func Span(off, n, size int64) (start, length int64, err error) {
	switch {
	case off <= -size && off < 0:
		return 0, size, nil
	case off < 0:
		return size + off, -off, nil
	case off > 0 && off >= size:
		return 0, 0, ErrRange
	}
	length = size - off
	if n >= 0 {
		length = min(n, length)
	}
	return off, length, nil
}
