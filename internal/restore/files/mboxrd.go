package files

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// counted counts what is written.
type counted struct {
	w *bufio.Writer
	n int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// quoted copies a message with mboxrd's quoting: >*From at the start of a line gets one
// more >, so that it can be undone. CRLF becomes LF, and a line that does not end, ends.
func quoted(w io.Writer, body io.Reader) error {
	r := bufio.NewReaderSize(body, 64<<10)
	begins, cr, last := true, false, byte('\n')
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		ended := errors.Is(err, io.EOF)
		if n := len(line); n > 0 {
			out := make([]byte, 0, n+2)
			if begins && strings.HasPrefix(strings.TrimLeft(string(line), ">"), "From ") {
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
			// A CR may be the first half of a line end that the buffer has cut.
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
