package mboxrd_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/mboxrd"
)

// Unquoting every line gives back the message, apart from its line ends.
func TestQuote(t *testing.T) {
	var q mboxrd.Quoter
	long := strings.Repeat("x", 64<<10-1)
	for _, message := range []string{"", "a", "a\r\n", "From a\r\n>From b\r\n>>From c\r\n", "Fromage\r\n> From d\r\n", long + "\r\nFrom e\r\n", long + "From f\r\n", "a\rb\r"} {
		var quoted bytes.Buffer
		if err := q.Quote(&quoted, strings.NewReader(message)); err != nil {
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

// Messages share the buffers: a mailbox of small messages costs no buffer for each of them.
func TestQuoteAllocatesNothing(t *testing.T) {
	var q mboxrd.Quoter
	var out bytes.Buffer
	body := strings.NewReader("")
	message := strings.Repeat("From a line\r\n", 500)
	if n := testing.AllocsPerRun(100, func() {
		out.Reset()
		body.Reset(message)
		if err := q.Quote(&out, body); err != nil {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations a message, want none", n)
	}
}
