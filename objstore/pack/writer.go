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
	entries map[Name]struct{}
	names   []byte // the entries in the form of the directory
	done    bool
}

// NewWriter begins an object. It uses buf[:0] while that has room, and Finish then returns
// the same memory, so that callers can pool it.
func NewWriter(buf []byte, o Options) *Writer {
	return &Writer{options: o, limit: o.frameSize(), out: buf[:0], s: getScratch(), entries: map[Name]struct{}{}}
}

// Reset begins another object in the memory of the last one, whose bytes are no longer valid.
func (w *Writer) Reset() {
	if w.done {
		w.s = getScratch()
	}
	w.s.raw = w.s.raw[:0]
	w.out, w.frames, w.names, w.done = w.out[:0], w.frames[:0], w.names[:0], false
	if len(w.entries) > keptEntries {
		w.entries = map[Name]struct{}{}
	}
	clear(w.entries)
}

// keptEntries is the number of entries for which Reset keeps the memory: 3 MiB at most.
const keptEntries = 1 << 15

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

// Has reports whether the object contains an entry of this name.
func (w *Writer) Has(name Name) bool {
	_, ok := w.entries[name]
	return ok
}

// Add writes an entry. After ErrName, ErrDuplicate or ErrTooLarge nothing has been written.
func (w *Writer) Add(name string, body []byte) error {
	n, err := ParseName(name)
	if err != nil {
		return err
	}
	return w.Put(n, body)
}

// Put is Add for a name that was made before.
func (w *Writer) Put(name Name, body []byte) error {
	size := int64(len(body))
	if len(body) > w.limit {
		return w.addReader(name, size, bytes.NewReader(body))
	}
	if err := w.check(&name, size); err != nil {
		return err
	}
	if err := w.makeRoom(size); err != nil {
		return err
	}
	w.header(&name, size)
	w.s.raw = append(w.s.raw, body...)
	w.pad()
	w.enter(name, size)
	return nil
}

// AddReader writes an entry of the next size bytes of r; it does not check whether r has
// more. An entry larger than a frame is compressed while it is read, at most 4 MiB at a
// time. After an error, including an error of r, the object does not contain the entry.
func (w *Writer) AddReader(name string, size int64, r io.Reader) error {
	n, err := ParseName(name)
	if err != nil {
		return err
	}
	return w.addReader(n, size, r)
}

func (w *Writer) addReader(name Name, size int64, r io.Reader) error {
	if err := w.check(&name, size); err != nil {
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
	w.header(&name, size)
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
	w.enter(name, size)
	return nil
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

func (w *Writer) check(name *Name, size int64) error {
	if w.done {
		return errFinished
	}
	if w.Has(*name) {
		return fmt.Errorf("%w: %s", ErrDuplicate, name.String())
	}
	if size < 0 || size > maxSize {
		return fmt.Errorf("%w: entry %s of %d bytes", ErrTooLarge, name.String(), size)
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

func (w *Writer) header(name *Name, size int64) {
	var buf [tarBlock]byte
	h := tarHeader(name.appendText(buf[:0]), size)
	w.s.raw = append(w.s.raw, h[:]...)
}

// pad fills the last block. A frame begins and ends between blocks.
func (w *Writer) pad() {
	var zeros [tarBlock]byte
	n := int64(len(w.s.raw))
	w.s.raw = append(w.s.raw, zeros[:padded(n)-n]...)
}

// enter records an entry that has been written.
func (w *Writer) enter(name Name, size int64) {
	w.entries[name] = struct{}{}
	w.names = appendEntry(w.names, &name, size)
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

// Finish ends the archive, writes the directory, and returns the object. Only Reset may be
// called after it, even if it returned an error.
func (w *Writer) Finish() ([]byte, error) {
	if w.done {
		return nil, errFinished
	}
	w.done = true
	defer w.s.release()
	var end [tarEnd]byte
	w.s.raw = append(w.s.raw, end[:]...)
	if err := w.flush(); err != nil {
		return nil, err
	}
	source := w.options.Random
	if source == nil {
		source = rand.Reader
	}
	var random [16]byte
	if _, err := io.ReadFull(source, random[:]); err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	w.out = appendDirectory(w.out, random, w.frames, len(w.entries), w.names)
	return w.out, nil
}
