package replication

import (
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// writeError says that the client can no longer be reached.
type writeError struct{ err error }

func (e *writeError) Error() string { return "write reply: " + e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// reply writes one line. It is flushed when the connection reads on.
func (c *conn) reply(line string) error {
	if _, err := c.out.WriteString(line); err != nil {
		return &writeError{err}
	}
	if _, err := c.out.WriteString("\r\n"); err != nil {
		return &writeError{err}
	}
	return nil
}

// untagged writes "* KEY value". Literals are {N} without a plus: clients from
// 3.6.5 on refuse the other form from a server (replication-protocol.md 2.3).
func (c *conn) untagged(key string, v dlist.Value) error {
	c.scratch = append(c.scratch[:0], "* "...)
	c.scratch = dlist.AppendPair(c.scratch, dlist.P(key, v), false)
	c.scratch = append(c.scratch, "\r\n"...)
	return c.write(c.scratch)
}

func (c *conn) write(b []byte) error {
	if _, err := c.out.Write(b); err != nil {
		return &writeError{err}
	}
	return nil
}

// flush sends what was written. The transport calls it before a read that may block.
func (c *conn) flush() error {
	if c.out.Buffered() > 0 {
		if err := c.out.Flush(); err != nil {
			return &writeError{err}
		}
	}
	if c.deflate != nil {
		if err := c.deflate.sync(); err != nil {
			return &writeError{err}
		}
	}
	return nil
}

// maxPrintable bounds what of the client's own words is repeated to it.
const maxPrintable = 200

// printable makes s fit for a status line: what a client sent as a literal may
// hold line ends.
func printable(s string) string {
	if len(s) > maxPrintable {
		s = s[:maxPrintable] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
