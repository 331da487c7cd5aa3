package cli

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"github.com/cyrusbackup/backupd/internal/visible"
)

// Output is where a tool writes what people and programs read: in it nothing that
// strangers wrote reaches a terminal as it is. JSON remains JSON.
func Output(w io.Writer) *visible.Writer { return visible.NewWriter(w) }

// Messages is Output for messages, each of which is written at once: no part of one looks
// like another.
func Messages(w io.Writer) *visible.Writer {
	v := visible.NewWriter(w)
	v.Messages = true
	return v
}

// Buffered is standard output with a buffer, of which it is still known where it ends.
type Buffered struct {
	*bufio.Writer
	w io.Writer
}

// NewBuffered puts a buffer before w; call Flush at the end.
func NewBuffered(w io.Writer) *Buffered { return &Buffered{bufio.NewWriterSize(w, 64<<10), w} }

// Unwrap is where the buffer is written to.
func (b *Buffered) Unwrap() io.Writer { return b.w }

// Raw is what an Output, Messages or Buffered ends in.
func Raw(w io.Writer) io.Writer {
	for {
		v, ok := w.(interface{ Unwrap() io.Writer })
		if !ok {
			return w
		}
		w = v.Unwrap()
	}
}

// Terminal is the terminal that w ends in, for what moves its cursor; nil = w ends elsewhere.
func Terminal(w io.Writer) io.Writer {
	f, ok := Raw(w).(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return f
}

// Fprintf writes a line for people. Strings that are put into the format are a part of
// that line: none of them begins another one. Errors may have several lines.
func Fprintf(w io.Writer, format string, args ...any) (int, error) {
	for i, a := range args {
		switch a := a.(type) {
		case string:
			args[i] = visible.Text(a)
		case error:
		case fmt.Stringer:
			args[i] = visible.Text(a.String())
		}
	}
	return fmt.Fprintf(w, format, args...)
}
