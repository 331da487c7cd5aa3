package imapdest

import (
	"bufio"
	"crypto/sha1"
	"hash"
	"io"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
)

// lineEnds is how a server handles line ends other than CRLF.
type lineEnds byte

const (
	endsKept  lineEnds = iota
	endsAdded          // a bare LF becomes CRLF
	endsViaLF          // stored as LF and returned as CRLF: a CR before CRLF, or at the end, is lost
)

// A form describes how servers change messages.
type form struct {
	ends lineEnds
	nul  byte // replacement for a NUL; 0 = unchanged
	high byte // replacement for an 8-bit byte of the header; 0 = unchanged
}

// forms are those of the servers that we tested. The first changes nothing.
var forms = [...]form{
	{}, {endsAdded, 0, 0}, {endsViaLF, 0, 0},
	{endsKept, 0x80, 0}, {endsAdded, 0x80, 0}, {endsViaLF, 0x80, 0}, // Dovecot
	{endsKept, 0, 'X'}, {endsAdded, 0, 'X'}, // Cyrus
}

// risks are the properties of a message that servers are known to change.
type risks byte

const (
	bareEnds risks = 1 << iota // a LF without CR, or a CR without LF
	nuls
	highHeader // 8-bit bytes in the header
)

// differs reports whether a form can change a message with these risks.
func (f form) differs(r risks) bool {
	return f.ends != endsKept && r&bareEnds != 0 || f.nul != 0 && r&nuls != 0 || f.high != 0 && r&highHeader != 0
}

// digest identifies a sequence of bytes.
type digest struct {
	size int64
	sum  cyrus.GUID // SHA-1
}

// expectation is what a server may return for a message, by form. A form that does not change
// the message has the digest of its original bytes.
type expectation struct {
	risks risks
	by    [len(forms)]digest
}

// expect reads a message twice: for its risks, and if there are any, for its digests.
func expect(b *restore.Body, guid cyrus.GUID) (*expectation, error) {
	e := &expectation{}
	look := &inspector{}
	if err := rewound(b, look); err != nil {
		return nil, err
	}
	e.risks = look.end()
	var changing []io.Writer
	var at []*rewriter
	for i, f := range forms {
		e.by[i] = digest{b.Size, guid}
		if f.differs(e.risks) {
			w := &rewriter{form: f, index: i, header: true, sum: sha1.New()}
			changing, at = append(changing, w), append(at, w)
		}
	}
	if len(at) == 0 {
		return e, nil
	}
	if err := rewound(b, io.MultiWriter(changing...)); err != nil {
		return nil, err
	}
	for _, w := range at {
		e.by[w.index] = w.end()
	}
	return e, nil
}

func rewound(b *restore.Body, w io.Writer) error {
	if _, err := b.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err := io.Copy(w, bufio.NewReaderSize(b, 64<<10))
	return err
}

// inspector finds the risks in the bytes written to it.
type inspector struct {
	found     risks
	last      byte
	line      int // bytes of the header line so far
	notHeader bool
}

func (x *inspector) Write(p []byte) (int, error) {
	for _, c := range p {
		switch {
		case c == '\n' && x.last != '\r', c != '\n' && x.last == '\r':
			x.found |= bareEnds
		case c == 0:
			x.found |= nuls
		}
		if !x.notHeader {
			x.header(c)
		}
		x.last = c
	}
	return len(p), nil
}

func (x *inspector) header(c byte) {
	switch {
	case c == '\n':
		x.notHeader, x.line = x.line == 0, 0
	case c != '\r':
		x.line++
		if c >= 0x80 {
			x.found |= highHeader
		}
	}
}

func (x *inspector) end() risks {
	if x.last == '\r' {
		x.found |= bareEnds
	}
	return x.found
}

// rewriter converts the bytes written to it into a form and hashes the result.
type rewriter struct {
	form
	index  int
	header bool
	line   int
	held   bool // a CR that may be dropped
	last   byte
	out    []byte
	size   int64
	sum    hash.Hash
}

func (w *rewriter) Write(p []byte) (int, error) {
	w.out = w.out[:0]
	for _, c := range p {
		if w.header {
			c = w.inHeader(c)
		}
		if c == 0 && w.nul != 0 {
			c = w.nul
		}
		w.next(c)
	}
	w.size += int64(len(w.out))
	if _, err := w.sum.Write(w.out); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *rewriter) inHeader(c byte) byte {
	switch {
	case c == '\n':
		w.header, w.line = w.line > 0, 0
	case c != '\r':
		w.line++
		if c >= 0x80 && w.high != 0 {
			return w.high
		}
	}
	return c
}

func (w *rewriter) next(c byte) {
	if w.ends == endsViaLF {
		if w.held && c != '\n' {
			w.put('\r')
		}
		if w.held = c == '\r'; w.held {
			return
		}
	}
	if c == '\n' && w.last != '\r' && w.ends != endsKept {
		w.put('\r')
	}
	w.put(c)
}

func (w *rewriter) put(c byte) {
	w.out = append(w.out, c)
	w.last = c
}

func (w *rewriter) end() digest {
	d := digest{size: w.size}
	copy(d.sum[:], w.sum.Sum(nil))
	return d
}
