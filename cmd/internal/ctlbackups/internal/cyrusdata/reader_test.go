package cyrusdata_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/ctlbackups/internal/cyrusdata"
)

func member(t *testing.T, lines ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	fmt.Fprint(z, "# cyrus backup: chunk start\r\n", strings.Join(lines, ""))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(data []byte) (out []string, err error) {
	err = cyrusdata.Read(bytes.NewReader(data), func(l cyrusdata.Line) error {
		var b bytes.Buffer
		if _, err := l.Body.WriteTo(&b); err != nil {
			return err
		}
		out = append(out, fmt.Sprintf("%d %d %q", l.Number, l.Time.Unix(), b.String()))
		return nil
	})
	return out, err
}

func TestRead(t *testing.T) {
	const file = "APPLY MESSAGE (%{default da39a3ee5e6b4b0d3255bfef95601890afd80709 10}\r\n1\n3 {5+}\r\n %{default da39a3ee5e6b4b0d3255bfef95601890afd80709 0}\r\n)\r\n"
	long := "APPLY SUB %(MBOXNAME " + strings.Repeat("x", 200_000) + " NOTE {3+}\r\na\nb)\r\n"
	got, err := read(append(member(t, "5 "+file, "6 "+long), member(t, "7 APPLY UNUSER anne\r\n")...))
	want := []string{fmt.Sprintf("1 5 %q", file), fmt.Sprintf("2 6 %q", long), `3 7 "APPLY UNUSER anne\r\n"`}
	if err != nil || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%v\n%.300q\nwant\n%.300q", err, got, want)
	}
}

func TestReadDamage(t *testing.T) {
	whole := append(member(t, "5 APPLY UNUSER anne\r\n"), member(t, "6 APPLY UNUSER bob\r\n")...)
	for name, c := range map[string]struct {
		data  []byte
		lines int
		err   error
	}{
		"cut off":        {whole[:len(whole)-12], 2, io.ErrUnexpectedEOF},
		"no gzip":        {[]byte("hello"), 0, cyrusdata.ErrNotData},
		"empty":          {nil, 0, cyrusdata.ErrNotData},
		"another start":  {gzipped(t, "# something else\n"), 0, cyrusdata.ErrNotData},
		"no time":        {member(t, "x APPLY UNUSER anne\r\n"), 0, cyrusdata.ErrNotData},
		"half a line":    {member(t, "5 APPLY UNUSER an"), 0, io.ErrUnexpectedEOF},
		"half a literal": {member(t, "5 APPLY SUB {9+}\r\nabc"), 0, io.ErrUnexpectedEOF},
	} {
		got, err := read(c.data)
		if !errors.Is(err, c.err) || len(got) != c.lines {
			t.Errorf("%s: %q, %v; want %d lines, %v", name, got, err, c.lines, c.err)
		}
	}
}

func gzipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	fmt.Fprint(z, text)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
