// Package cyrusdata reads the data files of Cyrus Backups: concatenated gzip members,
// each a chunk of lines "<epoch> APPLY <dlist>" (backup/lcb_append.c).
package cyrusdata

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"time"
)

// chunkStart is the first line of every chunk.
const chunkStart = "# cyrus backup: chunk start"

// ErrNotData reports that the file is not a data file of Cyrus Backups.
var ErrNotData = errors.New("not a data file of Cyrus Backups")

// Line is one command that backupd had accepted. Body is valid until the next line.
type Line struct {
	Number int // in the file, from 1
	Time   time.Time
	Body   io.WriterTo // the command as sent on the wire, with its literals and line end
}

// Read calls fn with every line of a data file, in order. At damage it returns an error,
// after the lines before the damage.
func Read(r io.Reader, fn func(Line) error) error {
	// A byte reader, so that gzip reads each member to its end and no further.
	in := bufio.NewReaderSize(r, 64<<10)
	z, err := gzip.NewReader(in)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotData, err)
	}
	d := &reader{fn: fn}
	for chunk := 1; ; chunk++ {
		z.Multistream(false)
		if err := d.chunk(bufio.NewReaderSize(z, 64<<10)); err != nil {
			return fmt.Errorf("chunk %d, line %d: %w", chunk, d.at, err)
		}
		err := z.Reset(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("chunk %d: %w", chunk+1, err)
		}
	}
}

type reader struct {
	fn     func(Line) error
	number int // of the current line
	at     int // of the byte in it
}

func (d *reader) chunk(r *bufio.Reader) error {
	d.at = d.number + 1
	first, err := r.ReadSlice('\n')
	if err != nil || string(bytes.TrimRight(first, "\r\n")) != chunkStart {
		return errors.Join(ErrNotData, notEnd(err))
	}
	for {
		d.at = d.number + 1
		stamp, err := r.ReadSlice(' ')
		if errors.Is(err, io.EOF) && len(stamp) == 0 {
			return nil
		}
		if err != nil {
			return unexpected(err)
		}
		sec, err := strconv.ParseInt(string(stamp[:len(stamp)-1]), 10, 64)
		if err != nil || sec < 0 {
			return fmt.Errorf("%w: a line begins with %.40q", ErrNotData, stamp)
		}
		d.number++
		b := &body{r: r}
		if err := d.fn(Line{d.number, time.Unix(sec, 0), b}); err != nil {
			return err
		}
		if _, err := b.WriteTo(io.Discard); err != nil {
			return err
		}
	}
}

// body is the rest of a line: up to a newline that no literal follows.
type body struct {
	r    *bufio.Reader
	done bool
	tail []byte // the last bytes since the last literal, enough for the announcement of the next
}

const longestAnnouncement = 512

var announcement = regexp.MustCompile(`(?:%\{[^\r\n{}]+ [0-9a-fA-F]{40} (\d{1,12})|\{(\d{1,12})\+?)\}\r?\n$`)

// WriteTo implements io.WriterTo. A truncated command is io.ErrUnexpectedEOF.
func (b *body) WriteTo(w io.Writer) (n int64, err error) {
	for !b.done {
		part, err := b.r.ReadSlice('\n')
		written, werr := w.Write(part)
		n += int64(written)
		if werr != nil {
			return n, werr
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return n, unexpected(err)
		}
		b.tail = append(b.tail, part[max(0, len(part)-longestAnnouncement):]...)
		b.tail = b.tail[max(0, len(b.tail)-longestAnnouncement):]
		if err != nil {
			continue
		}
		size, ok := literal(b.tail)
		b.tail = b.tail[:0]
		if !ok {
			b.done = true
			break
		}
		copied, err := io.CopyN(w, b.r, size)
		n += copied
		if err != nil {
			return n, unexpected(err)
		}
	}
	return n, nil
}

// literal returns the size of the literal that the end of a text announces.
func literal(tail []byte) (int64, bool) {
	m := announcement.FindSubmatch(tail)
	if m == nil {
		return 0, false
	}
	size, err := strconv.ParseInt(string(m[1])+string(m[2]), 10, 64)
	return size, err == nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func notEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
