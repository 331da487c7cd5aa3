package cli

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"github.com/cyrusbackup/backupd/internal/visible"
)

// Output escapes text of strangers so that it cannot control a terminal. JSON remains valid
// JSON. Tools write all their output through it.
func Output(w io.Writer) *visible.Writer { return visible.NewWriter(w) }

// Messages is Output for messages. Each Write is one message; no part of it can look like
// another message.
func Messages(w io.Writer) *visible.Writer {
	v := visible.NewWriter(w)
	v.Messages = true
	return v
}

// Buffered is standard output with a buffer. Unwrap returns the underlying writer, so Terminal
// still works.
type Buffered struct {
	*bufio.Writer
	w io.Writer
}

// NewBuffered returns a buffered writer to w; call Flush at the end.
func NewBuffered(w io.Writer) *Buffered { return &Buffered{bufio.NewWriterSize(w, 64<<10), w} }

// Unwrap returns the writer below the buffer.
func (b *Buffered) Unwrap() io.Writer { return b.w }

// Raw returns the writer below all Output, Messages and Buffered.
func Raw(w io.Writer) io.Writer {
	for {
		v, ok := w.(interface{ Unwrap() io.Writer })
		if !ok {
			return w
		}
		w = v.Unwrap()
	}
}

// Terminal returns the terminal that w writes to, for control sequences; nil if w does not
// write to a terminal.
func Terminal(w io.Writer) io.Writer {
	f, ok := Raw(w).(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return f
}

// Fprintf writes a line for people. It escapes line breaks in string arguments, so they cannot
// start another line. Errors may have several lines.
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
