package dlist

import (
	"bufio"
	"errors"
	"io"
)

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

// KVList reads a kvlist. For each key it calls fn, which must consume exactly
// one value; the key is interned and stays valid. An error of fn ends the call.
func (d *Decoder) KVList(fn func(key string) error) error {
	if err := d.open(KVList); err != nil {
		return err
	}
	list := d.key
	for {
		done, err := d.closed()
		if done || err != nil {
			d.key = list
			return err
		}
		w, err := d.astring()
		if err != nil {
			return err
		}
		key := d.intern(w)
		d.key = key
		if _, err := d.space(); err != nil {
			return err
		}
		if err := d.consume(func() error { return fn(key) }); err != nil {
			return err
		}
	}
}

// List reads a list, or NIL, which has no members. For each member it calls fn,
// which must consume exactly one value. An error of fn ends the call.
func (d *Decoder) List(fn func() error) error {
	if k, err := d.Peek(); err != nil {
		return err
	} else if k == Nil {
		d.take(len("NIL"))
		return nil
	}
	if err := d.open(List); err != nil {
		return err
	}
	list := d.key
	for {
		done, err := d.closed()
		if done || err != nil {
			return err
		}
		d.key = list
		if err := d.consume(fn); err != nil {
			return err
		}
	}
}

var errNotConsumed = errors.New("dlist: callback consumed no value")

func (d *Decoder) consume(fn func() error) error {
	off, pending := d.off, d.pending
	if err := fn(); err != nil {
		return err
	}
	if d.off == off && d.pending == pending {
		return errNotConsumed
	}
	return nil
}

// open takes the opening of a list or kvlist.
func (d *Decoder) open(want Kind) error {
	k, err := d.Peek()
	if err != nil {
		return err
	}
	if k != want {
		return d.field("want a " + want.String() + ", have a " + k.String())
	}
	if d.depth >= d.lim.MaxDepth {
		return d.syntax("lists nested too deeply")
	}
	d.depth++
	if want == KVList {
		d.take(2)
	} else {
		d.take(1)
	}
	return nil
}

// closed skips white space and takes a closing parenthesis if it is next.
func (d *Decoder) closed() (bool, error) {
	c, err := d.space()
	if err != nil || c != ')' {
		return false, err
	}
	d.take(1)
	d.depth--
	return true, nil
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

// File reads the head of a file literal and returns a reader of its bytes,
// valid until the next call of any other method. What is left unread is skipped
// by that call. The reader yields exactly Size bytes, or an error.
func (d *Decoder) File() (FileInfo, io.Reader, error) {
	k, err := d.Peek()
	if err != nil {
		return FileInfo{}, nil, err
	}
	if k != File {
		return FileInfo{}, nil, d.field("want a file, have a " + k.String())
	}
	f, err := d.fileHead()
	if err != nil {
		return FileInfo{}, nil, err
	}
	return f, &d.body, nil
}

// fileHead reads %{partition guid size} CR? LF and leaves the body pending.
func (d *Decoder) fileHead() (FileInfo, error) {
	d.take(2)
	w, err := d.astring()
	if err != nil {
		return FileInfo{}, err
	}
	f := FileInfo{Partition: d.intern(w)}
	if err := d.one(' '); err != nil {
		return f, err
	}
	if w, err = d.astring(); err != nil {
		return f, err
	}
	f.GUID = string(w)
	badGUID := !isHex40(w)
	if err := d.one(' '); err != nil {
		return f, err
	}
	n, err := d.number()
	if err != nil {
		return f, err
	}
	if err := d.headEnd(); err != nil {
		return f, err
	}
	f.Size, d.pending = uint64(n), n
	if badGUID {
		// imap/dlist.c gives up here and would take the body for commands;
		// its size is known, so it is skipped.
		return f, d.field("guid of 40 hex digits expected")
	}
	return f, nil
}

// one takes a byte that must come next.
func (d *Decoder) one(want byte) error {
	c, err := d.peek()
	if err != nil {
		return err
	}
	if c != want {
		return d.syntax("unexpected character in the head of a file")
	}
	d.take(1)
	return nil
}

func isHex40(b []byte) bool {
	if len(b) != 40 {
		return false
	}
	for _, c := range b {
		if c < '0' || c > '9' && c < 'A' || c > 'F' && c < 'a' || c > 'f' {
			return false
		}
	}
	return true
}

// fileBody reads the bytes of the file literal that its Decoder stands at.
type fileBody struct{ d *Decoder }

func (b *fileBody) Read(p []byte) (int, error) {
	if b.d.pending == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > b.d.pending {
		p = p[:b.d.pending]
	}
	n, err := b.d.r.Read(p)
	b.d.pending -= int64(n)
	b.d.off += int64(n)
	return n, lost(err)
}

// WriteTo hands the stream's own buffer to w, which spares io.Copy a buffer.
func (b *fileBody) WriteTo(w io.Writer) (int64, error) {
	var sum int64
	for b.d.pending > 0 {
		buf, err := b.d.window()
		if err != nil {
			return sum, err
		}
		buf = buf[:min(int64(len(buf)), b.d.pending)]
		n, err := w.Write(buf)
		sum += int64(n)
		b.d.pending -= int64(n)
		b.d.take(n)
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
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
