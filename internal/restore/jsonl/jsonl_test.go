package jsonl_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/restore/jsonl"
)

// Read returns the end of the accepted lines and the incomplete last line.
func TestRead(t *testing.T) {
	stop := errors.New("stop")
	for text, want := range map[string]struct {
		lines, rest string
		end         int64
		err         error
	}{
		"":                                {},
		"{}\n[]\n":                        {lines: "{}\n[]\n", end: 6},
		"{}\n{\"a\":":                     {lines: "{}\n", rest: `{"a":`, end: 3},
		"{}\nstop\n{}\n":                  {lines: "{}\n", end: 3, err: stop},
		"{}\n" + strings.Repeat("x", 2e6): {lines: "{}\n", end: 3, err: jsonl.ErrTooLong},
	} {
		var lines string
		end, rest, err := jsonl.Read(strings.NewReader(text), func(line []byte) error {
			if string(line) == "stop\n" {
				return stop
			}
			lines += string(line)
			return nil
		})
		if lines != want.lines || string(rest) != want.rest || end != want.end || !errors.Is(err, want.err) {
			t.Errorf("%.20q: lines %q, rest %q, end %d, %v; want %+v", text, lines, rest, end, err, want)
		}
	}
}

func TestWrite(t *testing.T) {
	var b bytes.Buffer
	if err := jsonl.Write(&b, map[string]string{"name": "R&-D"}); err != nil || b.String() != "{\"name\":\"R&-D\"}\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}
