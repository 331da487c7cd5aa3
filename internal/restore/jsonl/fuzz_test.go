package jsonl_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cyrusbackup/backupd/internal/fuzztest"
	"github.com/cyrusbackup/backupd/internal/restore/jsonl"
)

// FuzzRead reads a file of lines that a killed process may have left. Each byte is in a line, or in the rest.
func FuzzRead(f *testing.F) {
	f.Add([]byte("{\"a\":1}\n{\"b\":2}\n{\"c"))
	f.Add([]byte("\n\n\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzztest.Within(t, 4<<20+16*int64(len(b)), func() {
			var lines []byte
			end, rest, err := jsonl.Read(bytes.NewReader(b), func(line []byte) error {
				lines = append(lines, line...)
				return nil
			})
			if errors.Is(err, jsonl.ErrTooLong) {
				return
			}
			if err != nil || end != int64(len(lines)) || !bytes.Equal(append(lines, rest...), b) || bytes.Contains(rest, []byte("\n")) {
				t.Fatalf("%d bytes of lines, ending at %d, rest %q, %v", len(lines), end, rest, err)
			}
		})
	})
}
