package s3wire

import "testing"

// FuzzContentRange parses a header of a store.
func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 10-19/100", "bytes 0--1/0", "bytes */5", "bytes 9-1/9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if start, size, err := parseContentRange(s); err == nil && (start < 0 || size < 0 || start >= size && size > 0) {
			t.Errorf("%q: from %d of %d", s, start, size)
		}
	})
}
