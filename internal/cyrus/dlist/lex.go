package dlist

import (
	"errors"
	"io"
)

// delimits reports whether c ends an atom or a word (imap/imapparse.c, getword and
// getxstring: white space, parentheses, double quote).
func delimits(c byte) bool {
	return c == ' ' || c == ')' || c == '(' || c == '"' || (c >= '\t' && c <= '\r')
}

func isSpace(c byte) bool { return c == ' ' || (c >= '\t' && c <= '\r') }

// lost converts the end of the stream inside a command to io.ErrUnexpectedEOF.
func lost(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// syntax makes the error and records that the nesting depth is unknown.
func (d *Decoder) syntax(msg string) error {
	d.broken = true
	return &SyntaxError{Msg: msg, Offset: d.off}
}

// drain skips the unread part of a body.
func (d *Decoder) drain() error {
	for d.pending > 0 {
		n, err := d.r.Discard(int(min(d.pending, 1<<30)))
		d.pending -= int64(n)
		d.off += int64(n)
		if err != nil {
			return lost(err)
		}
	}
	return nil
}

// peek returns the next byte without consuming it.
func (d *Decoder) peek() (byte, error) {
	if d.pending > 0 {
		if err := d.drain(); err != nil {
			return 0, err
		}
	}
	b, err := d.r.Peek(1)
	if err != nil {
		return 0, lost(err)
	}
	return b[0], nil
}

// take discards n bytes that were peeked at.
func (d *Decoder) take(n int) {
	// Discard cannot fail for bytes that Peek returned.
	_, _ = d.r.Discard(n)
	d.off += int64(n)
}

// window returns all buffered bytes, at least one.
func (d *Decoder) window() ([]byte, error) {
	if d.r.Buffered() == 0 {
		if _, err := d.r.Peek(1); err != nil {
			return nil, lost(err)
		}
	}
	return d.r.Peek(d.r.Buffered())
}

// space skips white space, line ends included, and returns the next byte without consuming
// it.
func (d *Decoder) space() (byte, error) {
	for {
		c, err := d.peek()
		if err != nil || !isSpace(c) {
			return c, err
		}
		d.take(1)
	}
}

// word reads up to the next delimiter, which stays unread. The bytes are valid until the
// next read.
func (d *Decoder) word() ([]byte, error) {
	d.scratch = d.scratch[:0]
	for {
		w, err := d.window()
		if err != nil {
			return nil, err
		}
		n := 0
		for n < len(w) && !delimits(w[n]) {
			n++
		}
		if len(d.scratch)+n > d.lim.MaxWord {
			d.take(d.lim.MaxWord - len(d.scratch))
			d.inWord = true
			return nil, d.syntax("word too long")
		}
		if n < len(w) && len(d.scratch) == 0 {
			d.take(n)
			return w[:n], nil
		}
		if err := d.gather(w[:n], int64(d.lim.MaxWord)); err != nil {
			d.inWord = true
			return nil, err
		}
		d.take(n)
		if n < len(w) {
			return d.scratch, nil
		}
	}
}

// quoted reads a quoted string; the opening quote is next.
func (d *Decoder) quoted() ([]byte, error) {
	d.take(1)
	d.scratch = d.scratch[:0]
	for {
		w, err := d.window()
		if err != nil {
			return nil, err
		}
		n := 0
		for n < len(w) && w[n] != '"' && w[n] != '\\' && w[n] != '\r' && w[n] != '\n' {
			n++
		}
		if len(d.scratch)+n > d.lim.MaxQuoted {
			d.take(d.lim.MaxQuoted - len(d.scratch))
			d.inQuoted = true
			return nil, d.syntax("quoted string too long")
		}
		if n < len(w) && w[n] == '"' && len(d.scratch) == 0 {
			d.take(n + 1)
			return w[:n], nil
		}
		if err := d.gather(w[:n], int64(d.lim.MaxQuoted)); err != nil {
			d.inQuoted = true
			return nil, err
		}
		end := byte(0)
		if n < len(w) {
			end = w[n]
		}
		d.take(n)
		switch {
		case n == len(w):
		case end == '"':
			d.take(1)
			return d.scratch, nil
		case end == '\\':
			d.take(1)
			c, err := d.peek()
			if err != nil {
				return nil, err
			}
			if c == '\r' || c == '\n' {
				return nil, d.syntax("line end in quoted string")
			}
			d.take(1)
			d.scratch = append(d.scratch, c)
		default:
			return nil, d.syntax("line end in quoted string")
		}
	}
}

// astring reads an atom, quoted string or literal. The bytes are valid until the next read.
func (d *Decoder) astring() ([]byte, error) {
	c, err := d.peek()
	if err != nil {
		return nil, err
	}
	switch {
	case c == '"':
		return d.quoted()
	case c == '{':
		return d.literal()
	case delimits(c):
		return nil, d.syntax("value expected")
	}
	return d.word()
}
