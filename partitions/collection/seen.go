package collection

import (
	"errors"
	"io"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// Seen has what new objects of backups name, found by a program that has just read them, so that the
// next pass of this run reads them from here. As in the uses, a line counts only for the version of
// the object that was read. It is a temporary file, because there can be any number of objects.
type Seen struct {
	w    *usesWriter
	last string // key
}

// NewSeen returns an empty Seen.
func NewSeen() (*Seen, error) {
	w, err := newUsesWriter(time.Time{})
	if err != nil {
		return nil, err
	}
	return &Seen{w: w}, nil
}

// Add adds an object in the version that info describes, with the number of its places in each pack,
// by key. An object that is not in the order of the keys is ignored, as is one without an ETag.
func (s *Seen) Add(info objstore.Info, packs map[string]uint32) error {
	if info.Key <= s.last || info.ETag == "" || s.w.finished {
		return nil
	}
	named := map[Pack]uint32{}
	for key, n := range packs {
		if p, ok := packOf(key); ok {
			named[p] += n
		}
	}
	s.last = info.Key
	u := useOf(named)
	u.Object, u.version = info.Key, versionOf(info)
	return s.w.add(u)
}

// Close removes the file.
func (s *Seen) Close() error { return s.w.close() }

// seenReader reads a Seen in the order of the backups. The nil *seenReader has none.
type seenReader struct{ *usesReader }

// read begins to read. Nothing can be added any more.
func (s *Seen) read() (*seenReader, error) {
	if s == nil {
		return nil, nil
	}
	b, err := s.w.content()
	if err != nil {
		return nil, err
	}
	u, err := newUsesReader(io.NopCloser(b))
	if err != nil {
		return nil, err
	}
	return &seenReader{u}, nil
}

// of returns the lines about objects of a backup, by their key below its prefix. Calls are in the
// order of the prefixes.
func (r *seenReader) of(prefix string) (map[string]*use, error) {
	if r == nil {
		return nil, nil
	}
	var lines map[string]*use
	for !r.end {
		rel, ok := strings.CutPrefix(r.next.Object, prefix)
		switch {
		case ok:
			if lines == nil {
				lines = map[string]*use{}
			}
			u := r.next
			lines[rel] = &u
		case r.next.Object > prefix:
			return lines, nil
		}
		if err := r.advance(); err != nil {
			return nil, err
		}
	}
	return lines, nil
}

func (r *seenReader) close(err error) error {
	if r == nil {
		return err
	}
	return errors.Join(err, r.usesReader.close())
}
