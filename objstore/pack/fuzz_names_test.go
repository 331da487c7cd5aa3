package pack

import (
	"path"
	"strings"
	"testing"
)

// FuzzParseName parses the name of an entry, which becomes a file where an archive is unpacked.
func FuzzParseName(f *testing.F) {
	for _, s := range []string{"commit.ndjson", "0000000000000007/places.ndjson", strings.Repeat("0a", 20) + ".eml", strings.Repeat("0A", 20) + ".eml", "../x.eml",
		"0000000000000000/commit.ndjson", strings.Repeat("0a", 32) + ".records"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			return
		}
		if n.String() != s || path.Clean(s) != s || path.IsAbs(s) || strings.HasPrefix(s, "..") {
			t.Errorf("%q was read as %q", s, n)
		}
	})
}
