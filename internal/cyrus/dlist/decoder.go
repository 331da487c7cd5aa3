package dlist

import "bufio"

// Decoder reads dlists from a stream, as imap/dlist.c (dlist_parse) does. It
// reads no byte beyond what it returns, so the stream may be read directly
// between commands. Errors are *SyntaxError, *FieldError (wraps ErrField), what
// the stream returned, or io.ErrUnexpectedEOF when it ended inside a command.
// Not for concurrent use.
type Decoder struct {
	r       *bufio.Reader
	lim     Limits
	off     int64 // bytes since the command began
	pending int64 // bytes of a body still to be skipped
	depth   int   // open lists
	ended   bool  // End has succeeded
	broken  bool  // a syntax error was met: depth says nothing
	// where a syntax error left the stream, for SkipLine
	inWord, inQuoted bool

	key     string // of the value that comes next, for errors
	scratch []byte
	names   map[string]string // see intern
	body    fileBody
}

// NewDecoder returns a Decoder that reads r.
func NewDecoder(r *bufio.Reader, l Limits) *Decoder {
	d := &Decoder{r: r, lim: l.withDefaults(), names: make(map[string]string)}
	d.body.d = d
	return d
}

// Begin says that a new command begins: for those who read its verb from the
// stream themselves.
func (d *Decoder) Begin() {
	d.off, d.pending, d.depth = 0, 0, 0
	d.ended, d.broken, d.inWord, d.inQuoted = false, false, false, false
	d.key = ""
}

// Offset is how many bytes of the command have been read: for those who bound what they
// gather of a list.
func (d *Decoder) Offset() int64 { return d.off }

// Word begins a new command and reads its verb, which may be empty: up to white
// space, a parenthesis or a double quote, which is not taken (imap/imapparse.c,
// getword). The end of the stream before its first byte is io.EOF.
func (d *Decoder) Word() (string, error) {
	d.Begin()
	if _, err := d.r.Peek(1); err != nil {
		return "", err
	}
	w, err := d.word()
	if err != nil {
		return "", err
	}
	return d.intern(w), nil
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
	d.key = d.intern(w)
	if err := d.blanks(); err != nil {
		return "", err
	}
	c, err := d.peek()
	if err != nil {
		return "", err
	}
	// Cyrus would read on in the next line and wait for it; nobody sends that.
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

// Peek returns the kind of the value that comes next.
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

// peekNil tells NIL from a longer or shorter atom, and asks the stream for no
// byte that need not come.
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
		return d.syntax("extra data after the value")
	}
	d.take(1)
	d.ended = true
	return nil
}

// internMax bounds what intern keeps for the life of a connection.
const (
	internMax    = 512
	internMaxLen = 64
)

// intern makes a string of b without allocating for one that was seen before:
// keys, flags and annotation entries recur in every record.
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
