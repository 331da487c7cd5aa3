// Package mboxrd quotes messages for mbox files in the mboxrd format. Its quoting is
// reversible: every line that matches ">*From " gets one more ">".
package mboxrd

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// from begins the line before each message.
var from = []byte("From ")

// isFrom reports whether the start of a line matches ">*From ".
func isFrom(line []byte) bool { return bytes.HasPrefix(bytes.TrimLeft(line, ">"), from) }

// Unquote removes the quoting of a line, or of the start of a long one.
func Unquote(line []byte) []byte {
	if len(line) > 0 && line[0] == '>' && isFrom(line) {
		return line[1:]
	}
	return line
}

// Quoter quotes messages one after another, with buffers that they share. The zero value is
// ready for use.
type Quoter struct {
	r   *bufio.Reader
	out []byte // a line
}

// Quote copies a message and quotes it. CRLF becomes LF, and a missing line end is added.
// An empty line follows the message.
func (q *Quoter) Quote(w io.Writer, body io.Reader) error {
	if q.r == nil {
		q.r = bufio.NewReaderSize(nil, 64<<10)
	}
	r := q.r
	r.Reset(body)
	defer r.Reset(nil)
	begins, cr, last := true, false, byte('\n')
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		ended := errors.Is(err, io.EOF)
		if n := len(line); n > 0 {
			out := q.out[:0]
			if begins && isFrom(line) {
				out = append(out, '>')
			}
			if cr && line[0] != '\n' {
				out = append(out, '\r')
			}
			begins, last = line[n-1] == '\n', line[n-1]
			switch {
			case begins && n > 1 && line[n-2] == '\r':
				out = append(append(out, line[:n-2]...), '\n')
			default:
				out = append(out, line...)
			}
			q.out = out
			// A CR may be the first half of a line end that the buffer has split.
			if cr = last == '\r'; cr {
				out = out[:len(out)-1]
			}
			if _, err := w.Write(out); err != nil {
				return err
			}
		}
		if ended {
			break
		}
	}
	end := "\n"
	if cr {
		end = "\r\n\n"
	} else if last != '\n' {
		end = "\n\n"
	}
	_, err := io.WriteString(w, end)
	return err
}
