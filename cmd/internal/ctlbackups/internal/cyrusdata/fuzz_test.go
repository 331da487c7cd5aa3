package cyrusdata_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/ctlbackups/internal/cyrusdata"
	"github.com/cyrusbackup/backupd/internal/fuzztest"
)

// compressed returns the lines as a chunk.
func compressed(t *testing.T, lines []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(lines)
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// reread reads a data file, and returns its lines as the text of a chunk.
func reread(t *testing.T, file []byte) ([]byte, error) {
	t.Helper()
	var out bytes.Buffer
	out.WriteString("# cyrus backup: chunk start\r\n")
	number := 0
	err := cyrusdata.Read(bytes.NewReader(file), func(l cyrusdata.Line) error {
		if number++; l.Number != number {
			t.Errorf("line %d has the number %d", number, l.Number)
		}
		fmt.Fprintf(&out, "%d ", l.Time.Unix())
		_, err := l.Body.WriteTo(&out)
		return err
	})
	return out.Bytes(), err
}

// FuzzRead reads a data file of Cyrus Backups: the input as a chunk, and as the file. The lines are written and read again.
func FuzzRead(f *testing.F) {
	const start = "# cyrus backup: chunk start\r\n"
	const message = "1700000000 APPLY MESSAGE (%{default da39a3ee5e6b4b0d3255bfef95601890afd80709 10}\r\n1\n3 {5+}\r\n %{default da39a3ee5e6b4b0d3255bfef95601890afd80709 0}\r\n)\r\n"
	f.Add([]byte(start + message + "1700000001 APPLY SUB %(USERID anne MBOXNAME user.bob)\r\n"))
	f.Add([]byte(start + "1700000000 APPLY SUB %(NOTE {999999999999+}\r\nx"))
	f.Add([]byte(start))
	f.Fuzz(func(t *testing.T, lines []byte) {
		chunk := compressed(t, lines)
		// A line costs some buffers, and the target keeps all bytes of it.
		fuzztest.Within(t, 16<<20+4<<10*int64(bytes.Count(lines, []byte("\n"))+1)+16*int64(len(lines)), func() {
			text, err := reread(t, chunk)
			if err != nil {
				if !strings.HasPrefix(err.Error(), "chunk 1, line ") {
					t.Fatalf("the error does not name the line: %v", err)
				}
				return
			}
			again, err := reread(t, compressed(t, text))
			if err != nil || !bytes.Equal(text, again) {
				t.Fatalf("%q became %q, %v", text, again, err)
			}
		})
		// gzip makes up to 1032 bytes of one (RFC 1951); a line has three.
		fuzztest.Within(t, 4<<20+512<<10*int64(len(lines)), func() {
			_ = cyrusdata.Read(bytes.NewReader(lines), func(cyrusdata.Line) error { return nil })
		})
	})
}
