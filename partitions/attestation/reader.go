package attestation

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"aead.dev/minisign"
	"github.com/klauspost/compress/zstd"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// List is a list whose signature was verified. Its bytes are in a temporary file, so that nobody can change them
// between the check and the reading.
type List struct {
	Header  Header
	Comment Comment
	file    *os.File // removed already
}

// Open reads list c.List from a store, and verifies it.
func (k PublicKeys) Open(ctx context.Context, s objstore.Store, c Comment, signature []byte) (*List, error) {
	o, err := s.Get(ctx, ListKey(c.List.Number, c.List.SHA256), 0, -1)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return k.Read(o, signature)
}

// Read reads a list, and verifies it with its signature before anything is decompressed or parsed.
func (k PublicKeys) Read(r io.Reader, signature []byte) (*List, error) {
	c, err := k.comment(signature)
	if err != nil {
		return nil, err
	}
	key, _, err := k.keyOf(signature)
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp("", "backupd-list-")
	if err == nil {
		err = os.Remove(f.Name())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", repository.ErrTemporaryFile, err)
	}
	l := &List{Comment: c, file: f}
	if err := l.fill(r, key.PublicKey, signature); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *List) fill(r io.Reader, key minisign.PublicKey, signature []byte) error {
	sum := sha256.New()
	// One byte more than was signed shows that it is another list.
	in := minisign.NewReader(io.TeeReader(io.LimitReader(r, l.Comment.Bytes+1), sum))
	n, err := io.Copy(l.file, in)
	switch {
	case err != nil:
		return fmt.Errorf("read list %d: %w", l.Comment.List.Number, err)
	case n != l.Comment.Bytes, hex.EncodeToString(sum.Sum(nil)) != l.Comment.List.SHA256, !in.Verify(key, signature):
		return fmt.Errorf("list %d: %w for these bytes: it was changed or truncated", l.Comment.List.Number, ErrSignature)
	}
	for _, err := range l.Entries() { // the header, and that the list is complete and sound
		if err != nil {
			return fmt.Errorf("list %d: %w", l.Comment.List.Number, err)
		}
	}
	h := l.Header
	if h.Number != l.Comment.List.Number || h.Repository != l.Comment.Repository || !same(h.Previous, l.Comment.Previous) {
		return fmt.Errorf("list %d: %w: its header and the comment of its signature differ", l.Comment.List.Number, history.ErrCorrupt)
	}
	return nil
}

// same reports whether two references, which can be nil, name the same list.
func same(a, b *Reference) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// Close removes the temporary file.
func (l *List) Close() error { return l.file.Close() }

// Entries yields the entries in order, and sets Header. A list that is not sound ends with an error.
func (l *List) Entries() iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		size, err := l.file.Seek(0, io.SeekEnd)
		if err != nil {
			yield(nil, err)
			return
		}
		h, err := parseList(io.NewSectionReader(l.file, 0, size), func(e *Entry) bool { return yield(e, nil) })
		if err != nil {
			yield(nil, err)
			return
		}
		l.Header = h
	}
}

// parseList reads the bytes of a list. It calls fn for each entry, and ends without an error if fn returns false.
func parseList(r io.Reader, fn func(*Entry) bool) (h Header, err error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return h, err
	}
	defer z.Close()
	lines := bufio.NewScanner(z)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	if !lines.Scan() {
		return h, fmt.Errorf("%w: no first line: %w", history.ErrCorrupt, errors.Join(lines.Err()))
	}
	if err := checkVersion(lines.Bytes()); err != nil {
		return h, err
	}
	if err := parseLine(lines.Bytes(), &h); err != nil {
		return h, err
	}
	if err := h.check(); err != nil {
		return h, err
	}
	return h, parseEntries(lines, fn)
}

func parseEntries(lines *bufio.Scanner, fn func(*Entry) bool) error {
	var found Totals
	last := ""
	for lines.Scan() {
		if bytes.HasPrefix(lines.Bytes(), []byte(`{"end":`)) {
			var l endLine
			if err := parseLine(lines.Bytes(), &l); err != nil {
				return err
			}
			if l.End == nil || *l.End != found || lines.Scan() {
				return fmt.Errorf("%w: the last line does not fit the others", history.ErrCorrupt)
			}
			return lines.Err()
		}
		var l Entry
		if err := parseLine(lines.Bytes(), &l); err != nil {
			return err
		}
		if err := l.check(); err != nil {
			return err
		}
		at := order(l.Backup)
		if at <= last {
			return fmt.Errorf("%w: %q is not after the line before", history.ErrCorrupt, l.Backup)
		}
		last = at
		found.add(&l)
		if !fn(&l) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%w: %w", history.ErrCorrupt, err)
	}
	return fmt.Errorf("%w: the last line is missing", history.ErrCorrupt)
}
