package collection

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// Pack is the name of a pack: the SHA-256 of its bytes.
type Pack [32]byte

// MarshalText returns the hash in hex.
func (p Pack) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, p[:]), nil }

// UnmarshalText reads a hash in hex.
func (p *Pack) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(p)) {
		return fmt.Errorf("%q: not a hash of %d bytes", text, len(p))
	}
	_, err := hex.Decode(p[:], text)
	return err
}

// packOf returns the pack with a key. ok is false for any other key.
func packOf(key string) (p Pack, ok bool) {
	name, found := strings.CutPrefix(key, packPrefix)
	if !found || len(name) < 3+hex.EncodedLen(len(p)) || p.UnmarshalText([]byte(name[3:3+hex.EncodedLen(len(p))])) != nil {
		return p, false
	}
	return p, history.PackKey(p) == key
}

const packPrefix = "packs/"

func comparePacks(a, b Pack) int { return bytes.Compare(a[:], b[:]) }

// packSet is a set of packs in bounded memory. It keeps sorted runs in a temporary file.
type packSet struct {
	most int // packs in memory
	held []Pack
	file *os.File
	runs []run
	size int64
}

// run is a sorted part of the file.
type run struct{ off, n int64 }

const (
	packsOfAll    = 1 << 20 // 32 MiB, for the packs that all backups name
	packsOfBackup = 1 << 15 // 1 MiB
)

func newPackSet(most int) *packSet { return &packSet{most: most} }

func (s *packSet) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

func (s *packSet) empty() bool { return len(s.held) == 0 && len(s.runs) == 0 }

func (s *packSet) add(p Pack) error {
	if s.held = append(s.held, p); len(s.held) < s.most {
		return nil
	}
	if s.tidy(); len(s.held) < s.most/2 {
		return nil // most of them were repeated
	}
	return s.spill()
}

// tidy sorts the packs in memory, each once.
func (s *packSet) tidy() {
	slices.SortFunc(s.held, comparePacks)
	s.held = slices.Compact(s.held)
}

// spill writes the packs in memory to the file. The file has no name, so that it is freed
// when it is closed.
func (s *packSet) spill() error {
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
	for _, p := range s.held {
		if _, err := w.Write(p[:]); err != nil {
			return fmt.Errorf("write names of packs to a temporary file: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write names of packs to a temporary file: %w", err)
	}
	s.runs = append(s.runs, run{s.size, int64(len(s.held))})
	s.size += int64(len(s.held) * len(Pack{}))
	s.held = s.held[:0]
	return nil
}

// sorted yields the packs in order, each once. It may be called again, also after more calls
// of add.
func (s *packSet) sorted() iter.Seq2[Pack, error] {
	return func(yield func(Pack, error) bool) {
		s.tidy()
		heads := []*head{}
		for _, r := range s.runs {
			from := io.NewSectionReader(s.file, r.off, r.n*int64(len(Pack{})))
			heads = append(heads, &head{read: bufio.NewReaderSize(from, 16<<10)})
		}
		heads = append(heads, &head{held: s.held})
		for first, last := true, (Pack{}); ; {
			p, ok, err := least(heads)
			if err != nil {
				yield(Pack{}, fmt.Errorf("read names of packs from a temporary file: %w", err))
				return
			}
			if !ok {
				return
			}
			if (first || p != last) && !yield(p, nil) {
				return
			}
			first, last = false, p
		}
	}
}

// head is the next pack of a run.
type head struct {
	read *bufio.Reader // nil: held
	held []Pack
	at   Pack
	full bool // at is valid
	end  bool
}

func (h *head) fill() error {
	switch {
	case h.full || h.end:
		return nil
	case h.read == nil:
		if h.end = len(h.held) == 0; !h.end {
			h.at, h.held, h.full = h.held[0], h.held[1:], true
		}
		return nil
	}
	_, err := io.ReadFull(h.read, h.at[:])
	if errors.Is(err, io.EOF) {
		h.end, err = true, nil
	}
	h.full = err == nil && !h.end
	return err
}

// least takes the smallest pack. There are few runs, so that it looks at each.
func least(heads []*head) (p Pack, ok bool, err error) {
	var from *head
	for _, h := range heads {
		if err := h.fill(); err != nil {
			return p, false, err
		}
		if h.full && (from == nil || comparePacks(h.at, from.at) < 0) {
			from = h
		}
	}
	if from == nil {
		return p, false, nil
	}
	from.full = false
	return from.at, true, nil
}

// both yields the packs of two sets in order, each once.
func both(a, b *packSet) iter.Seq2[Pack, error] {
	return func(yield func(Pack, error) bool) {
		next, stop := iter.Pull2(b.sorted())
		defer stop()
		q, err, more := next()
		for p, perr := range a.sorted() {
			if err = errors.Join(perr, err); err != nil {
				yield(Pack{}, err)
				return
			}
			for more && comparePacks(q, p) < 0 {
				if !yield(q, nil) {
					return
				}
				if q, err, more = next(); err != nil {
					yield(Pack{}, err)
					return
				}
			}
			if more && q == p {
				if q, err, more = next(); err != nil {
					yield(Pack{}, err)
					return
				}
			}
			if !yield(p, nil) {
				return
			}
		}
		for ; more; q, err, more = next() {
			if !yield(q, err) || err != nil {
				return
			}
		}
	}
}
