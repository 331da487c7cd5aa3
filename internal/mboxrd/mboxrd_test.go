package mboxrd_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/mboxrd"
)

// Unquoting every line gives back the message, apart from its line ends.
func TestQuote(t *testing.T) {
	long := strings.Repeat("x", 64<<10-1)
	for _, message := range []string{"", "a", "a\r\n", "From a\r\n>From b\r\n>>From c\r\n", "Fromage\r\n> From d\r\n", long + "\r\nFrom e\r\n", long + "From f\r\n", "a\rb\r"} {
		var quoted bytes.Buffer
		if err := mboxrd.Quote(&quoted, strings.NewReader(message)); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		for line := range bytes.Lines(quoted.Bytes()) {
			if bytes.HasPrefix(line, []byte("From ")) {
				t.Errorf("%.20q: unquoted line %.20q", message, line)
			}
			out.Write(mboxrd.Unquote(line))
		}
		want := strings.ReplaceAll(message, "\r\n", "\n")
		if want != "" && !strings.HasSuffix(want, "\n") {
			want += "\n"
		}
		if out.String() != want+"\n" {
			t.Errorf("%.20q: %.40q, want %.40q", message, out.String(), want+"\n")
		}
	}
}
