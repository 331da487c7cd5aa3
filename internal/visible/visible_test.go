package visible_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
	"github.com/cyrusbackup/backupd/internal/visible"
)

func TestText(t *testing.T) {
	for s, want := range map[string]string{
		"Grüße, 日本": "Grüße, 日本", "a\x1b[31mb": `a\x1b[31mb`, "a\u009b31m": `a\u009b31m`, "a\x9b": `a\x9b`, "a\x7f": `a\u007f`,
		"a\nb\tc\r": `a\nb\tc\x0d`, "\u202egpj.exe": `\u202egpj.exe`, "\u2066x\u2069": `\u2066x\u2069`, "\u200fx": `\u200fx`,
		"\u2028": `\u2028`, "\U000e0041": `\udb40\udc41`, "\ufeff": `\ufeff`, "\x00": `\x00`, "می\u200cخواهم": "می\u200cخواهم", "": "",
	} {
		if got := visible.Text(s); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}

func TestWriter(t *testing.T) {
	for _, tt := range []struct {
		parts    []string
		messages bool
		want     string
	}{
		{[]string{"a\tb\n\x1b[2Jc\n"}, false, "a\tb\n\\x1b[2Jc\n"},
		{[]string{"gr\xc3", "\xbc\n"}, false, "grü\n"},
		{[]string{"a\r", "\nb\r", "c"}, false, "a\r\nb\\x0dc"},
		{[]string{"a\xc3"}, false, `a\xc3`},
		{[]string{"x: one\nx: two\n", "x: three\n"}, true, "x: one\n  x: two\nx: three\n"},
	} {
		var b strings.Builder
		w := visible.NewWriter(&b)
		w.Messages = tt.messages
		for _, p := range tt.parts {
			if n, err := w.Write([]byte(p)); n != len(p) || err != nil {
				t.Error(n, err)
			}
		}
		if err := w.Flush(); err != nil || b.String() != tt.want {
			t.Errorf("%q: %q, %v", tt.parts, b.String(), err)
		}
	}
}

// JSON keeps its values in a Writer, and has nothing that a terminal obeys.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{"plain", "\x1b[31m", "\u009b\u202e\u2028\U000e0041", "\x9b\x00\x7f\r\n\t", "Grüße"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		defer fuzztest.Limit(t, 256<<10+1<<10*int64(len(s)))()
		if !utf8.ValidString(s) {
			s = strings.ToValidUTF8(s, "?")
		}
		in, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		w := visible.NewWriter(&b)
		for _, c := range in {
			if _, err := w.Write([]byte{c}); err != nil {
				t.Fatal(err)
			}
		}
		var back string
		if err := json.Unmarshal([]byte(b.String()), &back); err != nil || back != s {
			t.Errorf("%q changed to %q by %s: %v", s, back, b.String(), err)
		}
		if out := b.String(); visible.Text(out) != out {
			t.Errorf("%q remains in %q", s, out)
		}
	})
}
