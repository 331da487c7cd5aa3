package dlist

import "bufio"

// Decoder reads dlists from a stream, like imap/dlist.c (dlist_parse). It reads no byte
// beyond the end of the returned value, so the stream may be read directly between
// commands. Errors are *SyntaxError, *FieldError (wraps ErrField), errors of the stream, or
// io.ErrUnexpectedEOF if the stream ended inside a command. Not for concurrent use.
type Decoder struct {
	r       *bufio.Reader
	lim     Limits
	off     int64 // bytes since the command began
	pending int64 // unread bytes of a body that must be skipped
	depth   int   // open lists
	ended   bool  // End has succeeded
	broken  bool  // after a syntax error: depth is meaningless
	// position of the stream after a syntax error, for SkipLine
	inWord, inQuoted bool

	key     string // of the next value, for errors
	scratch []byte
	held    int64             // bytes in values of this command
	lent    int64             // bytes borrowed from Loans
	names   map[string]string // see intern
	body    fileBody
}

// NewDecoder returns a Decoder that reads r.
func NewDecoder(r *bufio.Reader, l Limits) *Decoder {
	d := &Decoder{r: r, lim: l.withDefaults(), names: make(map[string]string)}
	d.body.d = d
	return d
}

// Begin starts a new command whose verb the caller has read from the stream.
func (d *Decoder) Begin() {
	d.off, d.pending, d.depth = 0, 0, 0
	d.ended, d.broken, d.inWord, d.inQuoted = false, false, false, false
	d.key = ""
}

// Offset returns the number of bytes read of the command. Callers use it to limit the size
// of lists.
func (d *Decoder) Offset() int64 { return d.off }

// Word starts a new command and reads its verb, which may be empty: up to white space, a
// parenthesis or a double quote, which stays unread (imap/imapparse.c, getword). The end of
// the stream before its first byte is io.EOF.
func (d *Decoder) Word() (string, error) {
	d.Begin()
	if _, err := d.r.Peek(1); err != nil {
		return "", err
	}
	w, err := d.word()
	if err != nil {
		return "", err
	}
	return d.keep(w)
}

// Key reads the key of the top level and the space around it.
func (d *Decoder) Key() (string, error) {
	if d.ended {
		d.Begin()
	}
	if err := d.blanks(); err != nil {
		return "", err
	}
	w, err := d.astring()
	if err != nil {
		return "", err
	}
	if d.key, err = d.keep(w); err != nil {
		return "", err
	}
	if err := d.blanks(); err != nil {
		return "", err
	}
	c, err := d.peek()
	if err != nil {
		return "", err
	}
	// Cyrus would continue on the next line and wait for it, but no client sends that.
	if isSpace(c) {
		return "", d.syntax("value expected after " + d.key)
	}
	return d.key, nil
}

// blanks skips spaces and tabs.
func (d *Decoder) blanks() error {
	for {
		c, err := d.peek()
		if err != nil {
			return err
		}
		if c != ' ' && c != '\t' {
			return nil
		}
		d.take(1)
	}
}

// Peek returns the kind of the next value.
func (d *Decoder) Peek() (Kind, error) {
	c, err := d.space()
	if err != nil {
		return Nil, err
	}
	switch c {
	case '(':
		return List, nil
	case '\\':
		return Flag, nil
	case '%':
		b, err := d.r.Peek(2)
		if err != nil {
			return Nil, lost(err)
		}
		switch b[1] {
		case '(':
			return KVList, nil
		case '{':
			return File, nil
		}
		return Nil, d.syntax("( or { expected after %")
	case ')':
		return Nil, d.syntax("value expected")
	case 'N':
		return d.peekNil()
	}
	return String, nil
}

// peekNil distinguishes NIL from a longer or shorter atom. It never waits for a byte that
// may not arrive.
func (d *Decoder) peekNil() (Kind, error) {
	for i := 1; i <= 3; i++ {
		b, err := d.r.Peek(i + 1)
		if err != nil {
			return Nil, lost(err)
		}
		if i < 3 && b[i] != "NIL"[i] || i == 3 && !delimits(b[3]) {
			return String, nil
		}
	}
	return Nil, nil
}

// End reads the end of the command, CR? LF, after its value.
func (d *Decoder) End() error {
	if err := d.lineEnd("extra data after the value"); err != nil {
		return err
	}
	d.ended = true
	return nil
}

// lineEnd reads CR? LF. Other input is a syntax error with the text msg.
func (d *Decoder) lineEnd(msg string) error {
	c, err := d.peek()
	if err != nil {
		return err
	}
	if c == '\r' {
		d.take(1)
		if c, err = d.peek(); err != nil {
			return err
		}
	}
	if c != '\n' {
		return d.syntax(msg)
	}
	d.take(1)
	return nil
}

// internMax limits how many strings intern keeps for the life of a connection.
const (
	internMax    = 512
	internMaxLen = 64
)

// intern makes a string of b and allocates only for new strings: keys, flags and annotation
// entries recur in every record.
func (d *Decoder) intern(b []byte) string {
	if len(b) > internMaxLen {
		return string(b)
	}
	if s, ok := d.names[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(d.names) < internMax {
		d.names[s] = s
	}
	return s
}
