package dlist

import (
	"encoding/hex"
	"io"
)

// FileHead is the head of a file literal in a stream. Reading it takes no memory.
type FileHead struct {
	Partition string
	GUID      [20]byte
	Size      uint64
}

// File reads the head of a file literal and returns a reader of its bytes, which is valid
// until the next call of any other method. That call skips the unread part. The reader
// yields exactly Size bytes, or an error.
func (d *Decoder) File() (h FileHead, body io.Reader, err error) {
	k, err := d.Peek()
	if err != nil {
		return h, nil, err
	}
	if k != File {
		return h, nil, d.field("want a file, have a " + k.String())
	}
	f, err := d.fileHead(func(w []byte) error {
		_, err := hex.Decode(h.GUID[:], w)
		return err
	})
	if err != nil {
		return h, nil, err
	}
	h.Partition, h.Size = f.Partition, f.Size
	return h, &d.body, nil
}

// fileHead reads %{partition guid size} CR? LF and leaves the body pending. It passes the GUID
// to guid while its bytes are valid, and returns the rest.
func (d *Decoder) fileHead(guid func([]byte) error) (FileInfo, error) {
	d.take(2)
	w, err := d.astring()
	if err != nil {
		return FileInfo{}, err
	}
	var f FileInfo
	if f.Partition, err = d.keep(w); err != nil {
		return f, err
	}
	if err := d.one(' '); err != nil {
		return f, err
	}
	if w, err = d.astring(); err != nil {
		return f, err
	}
	badGUID := !isHex40(w)
	if !badGUID {
		if err := guid(w); err != nil {
			return f, err
		}
	}
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
		// imap/dlist.c fails here and would read the body as commands. The size is known,
		// so the body is skipped instead.
		return f, d.field("guid of 40 hex digits expected")
	}
	return f, nil
}

// one reads a byte that must come next.
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

// fileBody reads the bytes of the current file literal.
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

// WriteTo writes the stream's buffer directly to w, which saves io.Copy a buffer.
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
