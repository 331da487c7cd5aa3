package collection

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
)

// record is a pointer to an array of bytes: the key of an entry in a sortedSet.
type record[T any] interface {
	*T
	raw() []byte
}

// sortedSet is a set of arrays of bytes in bounded memory. It keeps sorted runs in a temporary
// file.
type sortedSet[T comparable, P record[T]] struct {
	most int // records in memory
	held []T
	file *os.File
	runs []run
	size int64
}

// run is a sorted part of the file.
type run struct{ off, n int64 }

func newSortedSet[T comparable, P record[T]](most int) *sortedSet[T, P] {
	return &sortedSet[T, P]{most: most}
}

func compare[T any, P record[T]](a, b T) int { return bytes.Compare(P(&a).raw(), P(&b).raw()) }

func (s *sortedSet[T, P]) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// empty reports whether nothing was added.
func (s *sortedSet[T, P]) empty() bool { return len(s.held) == 0 && len(s.runs) == 0 }

// add adds a record. The set is not being iterated over.
func (s *sortedSet[T, P]) add(r T) error {
	if s.held = append(s.held, r); len(s.held) < s.most {
		return nil
	}
	if s.tidy(); len(s.held) < s.most/2 {
		return nil // most of them were repeated
	}
	return s.spill()
}

// tidy sorts the records in memory, each once.
func (s *sortedSet[T, P]) tidy() {
	slices.SortFunc(s.held, compare[T, P])
	s.held = slices.Compact(s.held)
}

// spill writes the records in memory to the file. The file has no name, so that it is freed
// when it is closed.
func (s *sortedSet[T, P]) spill() error {
	if s.file == nil {
		f, err := os.CreateTemp("", "backupd-packs-")
		if err != nil {
			return err
		}
		s.file = f
		if err := os.Remove(f.Name()); err != nil {
			return err
		}
	}
	w := bufio.NewWriterSize(io.NewOffsetWriter(s.file, s.size), 64<<10)
	written := 0
	for i := range s.held {
		n, err := w.Write(P(&s.held[i]).raw())
		if err != nil {
			return fmt.Errorf("write names of packs to a temporary file: %w", err)
		}
		written += n
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write names of packs to a temporary file: %w", err)
	}
	s.runs = append(s.runs, run{s.size, int64(written)})
	s.size += int64(written)
	s.held = s.held[:0]
	return nil
}

// sorted yields the records in order, each once. It may be called again, also after more calls
// of add.
func (s *sortedSet[T, P]) sorted() iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		s.tidy()
		var none T
		heads := []*head[T, P]{}
		for _, r := range s.runs {
			from := io.NewSectionReader(s.file, r.off, r.n)
			heads = append(heads, &head[T, P]{read: bufio.NewReaderSize(from, 16<<10)})
		}
		heads = append(heads, &head[T, P]{held: s.held})
		for first, last := true, none; ; {
			r, ok, err := least(heads)
			if err != nil {
				yield(none, fmt.Errorf("read names of packs from a temporary file: %w", err))
				return
			}
			if !ok {
				return
			}
			if (first || r != last) && !yield(r, nil) {
				return
			}
			first, last = false, r
		}
	}
}

// head is the next record of a run.
type head[T comparable, P record[T]] struct {
	read *bufio.Reader // nil: held
	held []T
	at   T
	full bool // at is valid
	end  bool
}

func (h *head[T, P]) fill() error {
	switch {
	case h.full || h.end:
		return nil
	case h.read == nil:
		if h.end = len(h.held) == 0; !h.end {
			h.at, h.held, h.full = h.held[0], h.held[1:], true
		}
		return nil
	}
	_, err := io.ReadFull(h.read, P(&h.at).raw())
	if errors.Is(err, io.EOF) {
		h.end, err = true, nil
	}
	h.full = err == nil && !h.end
	return err
}

// least takes the smallest record. There are few runs, so that it looks at each.
func least[T comparable, P record[T]](heads []*head[T, P]) (r T, ok bool, err error) {
	var from *head[T, P]
	for _, h := range heads {
		if err := h.fill(); err != nil {
			return r, false, err
		}
		if h.full && (from == nil || compare[T, P](h.at, from.at) < 0) {
			from = h
		}
	}
	if from == nil {
		return r, false, nil
	}
	from.full = false
	return from.at, true, nil
}
