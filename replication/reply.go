package replication

import (
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// writeError means that the client is no longer reachable.
type writeError struct{ err error }

func (e *writeError) Error() string { return "write reply: " + e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// reply writes one line. It is flushed before the next read.
func (c *conn) reply(line string) error {
	// Other lines are untagged, a challenge, or the empty end of a file.
	if line != "" && line[0] != '*' && line[0] != '+' {
		c.answered = line
	}
	if _, err := c.out.WriteString(line); err != nil {
		return &writeError{err}
	}
	if _, err := c.out.WriteString("\r\n"); err != nil {
		return &writeError{err}
	}
	return nil
}

// untagged writes "* KEY value". Literals are {N} without a plus: clients since 3.6.5
// refuse the other form from a server (replication-protocol.md 2.3).
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

// flush sends the buffered output. The transport calls it before a read that may block.
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

// maxPrintable limits how much of the client's input is repeated in a reply.
const maxPrintable = 200

// printable makes s safe for a status line: a literal from a client may contain line ends.
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
