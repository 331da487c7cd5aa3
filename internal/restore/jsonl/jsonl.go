// Package jsonl reads and appends files with one JSON object per line. A process that is
// killed, or a power cut, can leave an incomplete last line in such a file.
package jsonl

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

const longest = 1 << 20

// ErrTooLong means that a line is longer than any line of these files.
var ErrTooLong = errors.New("line too long")

// Read calls each with every complete line and stops at its first error. It returns the end of
// the last line that each accepted, and the incomplete last line if there is one.
func Read(r io.Reader, each func(line []byte) error) (end int64, rest []byte, err error) {
	in := bufio.NewReaderSize(r, longest)
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			return end, line, nil
		case errors.Is(err, bufio.ErrBufferFull):
			return end, nil, ErrTooLong
		case err != nil:
			return end, nil, err
		}
		if err := each(line); err != nil {
			return end, nil, err
		}
		end += int64(len(line))
	}
}

// Write appends a line for each value with a single call, so that a killed process leaves
// complete lines.
func Write[T any](w io.Writer, values ...T) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // many mailbox names contain &
	for _, v := range values {
		if err := e.Encode(v); err != nil {
			return err
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}
