package dlist

import "errors"

// Skip skips a value of any kind, including literals and file bodies; it reads only their
// sizes.
func (d *Decoder) Skip() error {
	k, err := d.Peek()
	if err != nil {
		return err
	}
	switch k {
	case List:
		return d.List(d.Skip)
	case KVList:
		return d.KVList(func(string) error { return d.Skip() })
	}
	return d.skipScalar()
}

// skipScalar skips a string, a flag, NIL or a file.
func (d *Decoder) skipScalar() error {
	c, err := d.peek()
	if err != nil {
		return err
	}
	switch {
	case c == '{':
		d.pending, err = d.literalHead()
		return err
	case c == '%':
		if b, err := d.r.Peek(2); err != nil {
			return lost(err)
		} else if b[1] == '{' {
			_, err := d.fileHead(func([]byte) error { return nil })
			return err
		}
		return d.skipWord()
	case c == '"':
		d.take(1)
		return d.skipQuoted()
	}
	return d.skipWord()
}

// skipWord skips to a delimiter.
func (d *Decoder) skipWord() error {
	for {
		w, err := d.window()
		if err != nil {
			return err
		}
		n := 0
		for n < len(w) && !delimits(w[n]) {
			n++
		}
		d.take(n)
		if n < len(w) {
			return nil
		}
	}
}

// skipQuoted skips to the end of a quoted string, or to a line end.
func (d *Decoder) skipQuoted() error {
	for escaped := false; ; {
		c, err := d.peek()
		if err != nil {
			return err
		}
		if c == '\r' || c == '\n' {
			return d.syntax("line end in quoted string")
		}
		d.take(1)
		if c == '"' && !escaped {
			return nil
		}
		escaped = c == '\\' && !escaped
	}
}

// SkipLine moves the stream to the end of the command after a *SyntaxError, or after a
// refusal with unread input, so that the next command parses. It does nothing if End has
// succeeded for this command.
//
// Inside lists that were read without an error it reads to their end, like Cyrus's parser,
// which treats line ends there as white space. Otherwise the command ends at the next line
// end outside a literal (imap/sync_support.c, sync_eatline): a list that is never closed
// must not swallow the commands after it.
func (d *Decoder) SkipLine() error {
	if d.ended {
		return nil
	}
	if err := d.drain(); err != nil {
		return err
	}
	if d.depth == 0 {
		d.broken = true // nothing is known of the lists to come
	}
	var err error
	switch {
	case d.inWord:
		err = d.skipWord()
	case d.inQuoted:
		err = d.skipQuoted()
	}
	d.inWord, d.inQuoted = false, false
	for err == nil || malformed(err) {
		var done bool
		if done, err = d.skipToken(); done {
			d.ended, d.depth = true, 0
			return nil
		}
	}
	return err
}

// malformed reports whether err concerns the input, not the stream.
func malformed(err error) bool {
	var s *SyntaxError
	var m *MemoryError
	return errors.As(err, &s) || errors.As(err, &m) || errors.Is(err, ErrField)
}

// skipToken skips one token, or one byte between tokens. done means that it was the line
// end of the command.
func (d *Decoder) skipToken() (done bool, err error) {
	c, err := d.peek()
	if err != nil {
		return false, err
	}
	inList := d.depth > 0 && !d.broken
	switch {
	case c == '\n' && !inList:
		d.take(1)
		return true, nil
	case isSpace(c):
		d.take(1)
		return false, nil
	case c == '(':
		d.depth++
		d.take(1)
		return false, nil
	case c == ')':
		if d.depth--; d.depth <= 0 {
			d.broken = true
		}
		d.take(1)
		return false, nil
	case c == '%':
		if b, err := d.r.Peek(2); err != nil {
			return false, lost(err)
		} else if b[1] == '(' {
			d.take(1)
			return false, nil
		}
	}
	return false, d.skipScalar()
}
