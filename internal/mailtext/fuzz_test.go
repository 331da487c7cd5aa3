package mailtext_test

import (
	"testing"
	"unicode/utf8"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
	"github.com/cyrusbackup/backupd/internal/mailtext"
)

// FuzzWords decodes encoded words, addresses and bytes without a charset. The text is UTF-8.
func FuzzWords(f *testing.F) {
	f.Add("=?utf-8?q?Gr=C3=BC=C3=9Fe?= =?iso-8859-1?b?/A==?= x", "utf-8")
	f.Add("\"A, B\" <a@b>, =?x?q?y?=: c@d;", "koi8-r")
	f.Add("Gr\xfc\xdfe", "windows-1252")
	f.Fuzz(func(t *testing.T, v, charset string) {
		defer fuzztest.Limit(t, 1<<20+4<<10*int64(len(v)+len(charset)))()
		for _, text := range []string{mailtext.Decode(v, charset), mailtext.Addresses(v, charset), mailtext.Unlabelled(v, charset)} {
			if !utf8.ValidString(text) {
				t.Errorf("%q, charset %q: %q", v, charset, text)
			}
		}
		if once := mailtext.Fold(v); utf8.ValidString(v) && mailtext.Fold(once) != once {
			t.Errorf("%q is folded to %q, and then to %q", v, once, mailtext.Fold(once))
		}
	})
}
