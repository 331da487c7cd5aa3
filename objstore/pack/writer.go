package pack

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
)

var errFinished = errors.New("object is finished")

// Writer builds one object in memory. Not safe for concurrent use. A Writer that is
// abandoned before Finish need not be closed.
type Writer struct {
	options Options
	limit   int // maximum bytes of small entries in a frame

	out     []byte   // frames
	s       *scratch // s.raw: entries that are not yet in a frame
	frames  []frame
	entries []Entry
	index   map[string]int
	names   []byte // the entries in the form of the directory
	done    bool
}

// NewWriter begins an object. It uses buf[:0] while that has room, and Finish then returns
// the same memory, so that callers can pool it.
func NewWriter(buf []byte, o Options) *Writer {
	return &Writer{options: o, limit: o.frameSize(), out: buf[:0], s: getScratch(), index: make(map[string]int)}
}

// Len estimates the size of the object if it were finished now. Entries that are not yet
// compressed count with their full size.
func (w *Writer) Len() int {
	if w.done {
		return len(w.out)
	}
	return len(w.out) + len(w.s.raw) + len(w.names) + 6*len(w.frames) + skippableHead + trailerSize + 32
}

// Count returns the number of entries.
func (w *Writer) Count() int { return len(w.entries) }

// Add writes an entry. After ErrName, ErrDuplicate or ErrTooLarge nothing has been written.
func (w *Writer) Add(name string, body []byte) error {
	size := int64(len(body))
	if len(body) > w.limit {
		return w.AddReader(name, size, bytes.NewReader(body))
	}
	if err := w.check(name, size); err != nil {
		return err
	}
	if err := w.makeRoom(size); err != nil {
		return err
	}
	w.header(name, size)
	w.s.raw = append(w.s.raw, body...)
	w.pad()
	return w.enter(name, size)
}

// AddReader writes an entry of the next size bytes of r; it does not check whether r has
// more. An entry larger than a frame is compressed while it is read, at most 4 MiB at a
// time. After an error, including an error of r, the object does not contain the entry.
func (w *Writer) AddReader(name string, size int64, r io.Reader) error {
	if err := w.check(name, size); err != nil {
		return err
	}
	small := size <= int64(w.limit)
	room := size
	if !small {
		room = int64(w.limit)
	}
	if err := w.makeRoom(room); err != nil {
		return err
	}
	out, frames, raw := len(w.out), len(w.frames), len(w.s.raw)
	w.header(name, size)
	var err error
	if small {
		err = w.fill(r, size)
	} else {
		err = w.addLarge(r, size)
	}
	if err != nil {
		w.out, w.frames, w.s.raw = w.out[:out], w.frames[:frames], w.s.raw[:raw]
		return fmt.Errorf("entry %s: %w", name, err)
	}
	return w.enter(name, size)
}

// addLarge writes the pending entries and the header as a frame, and then the body in whole
// frames, the last one padded.
func (w *Writer) addLarge(r io.Reader, size int64) error {
	for {
		if err := w.flush(); err != nil || size == 0 {
			return err
		}
		n := min(size, maxFrame)
		if err := w.fill(r, n); err != nil {
			return err
		}
		size -= n
	}
}

// fill appends n bytes of r, and padding, to the pending data.
func (w *Writer) fill(r io.Reader, n int64) error {
	have := len(w.s.raw)
	w.s.raw = slices.Grow(w.s.raw, int(padded(n)))[:have+int(n)]
	if _, err := io.ReadFull(r, w.s.raw[have:]); err != nil {
		return err
	}
	w.pad()
	return nil
}

func (w *Writer) check(name string, size int64) error {
	if w.done {
		return errFinished
	}
	if err := CheckName(name); err != nil {
		return err
	}
	if _, twice := w.index[name]; twice {
		return fmt.Errorf("%w: %s", ErrDuplicate, name)
	}
	if size < 0 || size > maxSize {
		return fmt.Errorf("%w: entry %s of %d bytes", ErrTooLarge, name, size)
	}
	// A frame for a header and one for each maxFrame take less than 64 bytes of directory.
	if len(w.entries) >= maxEntries || len(w.names)+16*len(w.frames)+int(size/maxFrame)*16 > maxDirectory-1024 {
		return fmt.Errorf("%w: %d entries", ErrTooLarge, len(w.entries))
	}
	return nil
}

// makeRoom ends the frame if a body of this size would make it too large.
func (w *Writer) makeRoom(size int64) error {
	if int64(len(w.s.raw))+tarBlock+size > int64(w.limit) {
		return w.flush()
	}
	return nil
}

func (w *Writer) header(name string, size int64) {
	h := tarHeader(name, size)
	w.s.raw = append(w.s.raw, h[:]...)
}

// pad fills the last block. A frame begins and ends between blocks.
func (w *Writer) pad() {
	var zeros [tarBlock]byte
	n := int64(len(w.s.raw))
	w.s.raw = append(w.s.raw, zeros[:padded(n)-n]...)
}

// enter records an entry that has been written.
func (w *Writer) enter(name string, size int64) (err error) {
	w.index[name] = len(w.entries)
	w.entries = append(w.entries, Entry{Name: name, Size: size})
	w.names, err = appendEntry(w.names, name, size)
	return err
}

// flush compresses the pending data into a frame.
func (w *Writer) flush() error {
	raw := w.s.raw
	if len(raw) == 0 {
		return nil
	}
	start := len(w.out)
	out, err := encodeFrame(w.options.Level, w.out, raw)
	if err != nil {
		return err
	}
	w.out, w.s.raw = out, raw[:0]
	w.frames = append(w.frames, frame{int64(len(out) - start), int64(len(raw))})
	return nil
}

// Finish ends the archive and writes the directory. The Writer cannot be used after it,
// even if it returned an error.
func (w *Writer) Finish() ([]byte, *Directory, error) {
	if w.done {
		return nil, nil, errFinished
	}
	w.done = true
	defer w.s.release()
	w.s.raw = append(w.s.raw, make([]byte, tarEnd)...)
	if err := w.flush(); err != nil {
		return nil, nil, err
	}
	d := &Directory{Entries: w.entries, index: w.index}
	random := w.options.Random
	if random == nil {
		random = rand.Reader
	}
	if _, err := io.ReadFull(random, d.Random[:]); err != nil {
		return nil, nil, fmt.Errorf("read random bytes: %w", err)
	}
	if err := d.place(w.frames); err != nil {
		return nil, nil, err
	}
	w.out = appendDirectory(w.out, d.Random, w.frames, len(w.entries), w.names)
	return w.out, d, nil
}
