package visible

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Writer passes on its input and escapes everything except tabs and line ends. Call Flush at the
// end, because a character may arrive in two parts.
type Writer struct {
	w    io.Writer
	held []byte // an incomplete character, or a CR
	err  error
	// Messages means that each call of Write is one message: further lines are indented, so that
	// none of them looks like another message.
	Messages bool
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Unwrap returns the underlying writer.
func (w *Writer) Unwrap() io.Writer { return w.w }

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	if len(w.held) == 0 && !w.Messages && plain(p) && w.err == nil {
		n, err := w.w.Write(p)
		w.err = err
		return n, err
	}
	s := string(w.held) + string(p)
	w.held = nil
	var b strings.Builder
	b.Grow(len(s))
	for s != "" {
		if !w.Messages && (s == "\r" || !utf8.FullRuneInString(s)) {
			w.held = []byte(s)
			break
		}
		r, n := utf8.DecodeRuneInString(s)
		if s[0] == '\r' && strings.HasPrefix(s, "\r\n") {
			r, n = '\n', 2
		}
		switch {
		case r == '\n':
			b.WriteString(s[:n])
			if w.Messages && len(s) > n {
				b.WriteString("  ")
			}
		case r == '\t':
			b.WriteByte('\t')
		default:
			write(&b, r, s[:n])
		}
		s = s[n:]
	}
	if w.err == nil {
		_, w.err = io.WriteString(w.w, b.String())
	}
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// Flush writes an incomplete character, and flushes the underlying writer.
func (w *Writer) Flush() error {
	if len(w.held) > 0 && w.err == nil {
		_, w.err = io.WriteString(w.w, Text(string(w.held)))
		w.held = nil
	}
	if f, ok := w.w.(interface{ Flush() error }); ok && w.err == nil {
		w.err = f.Flush()
	}
	return w.err
}

// plain reports whether there is nothing to escape, which is true for most output.
func plain(p []byte) bool {
	for _, c := range p {
		if (c < ' ' || c >= 0x7f) && c != '\n' && c != '\t' {
			return false
		}
	}
	return true
}
