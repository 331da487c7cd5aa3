package source

import (
	"bufio"
	"errors"
	"io"

	"github.com/cyrusbackup/backupd/internal/mboxrd"
)

// wireReader converts line ends to CR LF, as Cyrus stores them, and removes the quoting of
// mboxrd.
type wireReader struct {
	r        *bufio.Reader
	unquote  bool
	verbatim bool // keep line ends
	start    bool // at the start of a line
	cr       bool // the last byte was CR
	out      []byte
	buf      []byte // backing array of out
	err      error
}

func newWireReader(r io.Reader) *wireReader {
	return &wireReader{r: bufio.NewReaderSize(r, 32<<10), start: true}
}

func (w *wireReader) Read(p []byte) (int, error) {
	for len(w.out) == 0 {
		if w.err != nil {
			return 0, w.err
		}
		w.fill()
	}
	n := copy(p, w.out)
	w.out = w.out[n:]
	return n, nil
}

// fill converts some lines, or a part of a long one.
func (w *wireReader) fill() {
	w.buf = w.buf[:0]
	for len(w.buf) < 16<<10 {
		line, err := w.r.ReadSlice('\n')
		if w.start && w.unquote {
			line = mboxrd.Unquote(line)
		}
		if n := len(line); n > 0 {
			w.start = line[n-1] == '\n'
			if w.start && !w.verbatim && !(n > 1 && line[n-2] == '\r' || n == 1 && w.cr) {
				w.buf = append(append(w.buf, line[:n-1]...), '\r', '\n')
			} else {
				w.buf = append(w.buf, line...)
			}
			w.cr = line[n-1] == '\r'
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			w.err = err
			break
		}
	}
	w.out = w.buf
}
