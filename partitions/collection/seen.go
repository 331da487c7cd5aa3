package collection

import (
	"errors"
	"io"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
)

// Seen has what new objects of backups name, found by a program that has just read them, so that the
// next pass of this run reads them from here. As in the uses, a line counts only for the version of
// the object that was read. It is a temporary file, because there can be any number of objects.
type Seen struct {
	w    *linesWriter
	last string // key
}

// seenUse is a line: what an object names, which may have been merged since.
type seenUse struct {
	use
	Random string `json:"random,omitempty"` // in the header of a single commit
	Merged bool   `json:"merged,omitempty"` // it was merged and removed: what it names is not known
}

// NewSeen returns an empty Seen.
func NewSeen() (*Seen, error) {
	w, err := newLinesWriter()
	if err != nil {
		return nil, err
	}
	return &Seen{w: w}, nil
}

// Add adds an object in the version that info describes, with the number of its places in each pack,
// by key, nil if it was merged and removed, and the random number of a commit, "" if it is unknown. An object that is not in the order of the keys is ignored,
// as is one without an ETag.
func (s *Seen) Add(info objstore.Info, packs map[string]uint32, random string) error {
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
	u := seenUse{*useOf(named), random, packs == nil}
	u.Object, u.version = info.Key, versionOf(info)
	return s.w.add(&u)
}

// Close removes the file.
func (s *Seen) Close() error { return s.w.close() }

// seenReader reads a Seen in the order of the backups. The nil *seenReader has none.
type seenReader struct {
	*linesReader
	next seenUse
}

// read begins to read. Nothing can be added any more.
func (s *Seen) read() (*seenReader, error) {
	if s == nil {
		return nil, nil
	}
	b, err := s.w.content()
	if err != nil {
		return nil, err
	}
	lines, err := newLinesReader(io.NopCloser(b), maxUseLine, errSeen)
	if err != nil {
		return nil, err
	}
	r := &seenReader{linesReader: lines}
	return r, r.advance()
}

// errSeen reports a temporary file that cannot be read.
var errSeen = errors.New("read the temporary file with what this run has read")

func (r *seenReader) advance() error {
	r.next = seenUse{}
	return r.line(&r.next)
}

// of returns the lines about objects of a backup, by their key below its prefix. Calls are in the
// order of the prefixes.
func (r *seenReader) of(prefix string) (map[string]*seenUse, error) {
	if r == nil {
		return nil, nil
	}
	var lines map[string]*seenUse
	for !r.end {
		rel, ok := strings.CutPrefix(r.next.Object, prefix)
		switch {
		case ok:
			if lines == nil {
				lines = map[string]*seenUse{}
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
	return errors.Join(err, r.linesReader.close())
}
