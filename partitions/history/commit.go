package history

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"slices"

	"github.com/cyrusbackup/backupd/objstore"
)

// CommitReader is a commit that is being read, as a stream: only its header and one
// line are held. It is valid inside of the function or loop that it was given to.
type CommitReader struct {
	header Header
	key    string // of the object, for errors
	first  []byte // the header's line, with its newline
	size   int64  // bytes of commit.ndjson
	lines  *lines
	sum    hash.Hash
	err    error // ends the events: io.EOF after the last one
	places func() (io.Reader, error)
}

// newCommitReader reads the header. places opens the commit's places.ndjson once the
// events are read; a nil reader is a commit without places.
func newCommitReader(key, backup string, number uint64, e entry, places func() (io.Reader, error)) (*CommitReader, error) {
	if e.size > maxCommitSize {
		return nil, inObject(key, fmt.Errorf("%w: %s is too large, %d bytes", ErrCorrupt, e.name, e.size))
	}
	c := &CommitReader{key: key, size: e.size, sum: sha256.New(), places: places}
	c.lines = newLines(io.TeeReader(e.body, c.sum))
	line, err := c.lines.next()
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %s is empty", ErrCorrupt, e.name)
	}
	if err == nil {
		c.first = append(slices.Clone(line), '\n')
		c.header, err = parseHeader(line)
	}
	if err == nil {
		err = c.header.check(backup, number)
	}
	if err != nil {
		return nil, inObject(key, err)
	}
	return c, nil
}

// Header is the commit's first line.
func (c *CommitReader) Header() Header { return c.header }

// Key is the object that the commit was read from: its own or a segment.
func (c *CommitReader) Key() string { return c.key }

// Size is the length of the uncompressed commit.ndjson.
func (c *CommitReader) Size() int64 { return c.size }

// raw reads the uncompressed commit.ndjson as it is. Afterwards the events are at their end.
func (c *CommitReader) raw() io.Reader {
	c.err = io.EOF
	return io.MultiReader(bytes.NewReader(c.first), c.lines.r)
}

// Events yields the events in order. It can be ranged over once; what is left goes
// on in another range. An error ends it and names the object.
func (c *CommitReader) Events() iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for c.err == nil {
			line, err := c.lines.next()
			if err != nil {
				c.end(err)
				break
			}
			e, err := ParseEvent(line)
			if err != nil {
				c.end(fmt.Errorf("line %d: %w", c.lines.n, err))
				break
			}
			if !yield(e, nil) {
				return
			}
		}
		if !errors.Is(c.err, io.EOF) {
			yield(nil, c.err)
		}
	}
}

func (c *CommitReader) end(err error) {
	if errors.Is(err, io.EOF) {
		c.err = io.EOF
		return
	}
	c.err = inObject(c.key, fmt.Errorf("commit %d: %w", c.header.Number, err))
}

// Hash is the SHA-256 of the uncompressed commit.ndjson, the Prev of the next
// commit, in hex. Events that were not ranged over are read, but not parsed.
func (c *CommitReader) Hash() (string, error) {
	for c.err == nil {
		if _, err := c.lines.next(); err != nil {
			c.end(err)
		}
	}
	if !errors.Is(c.err, io.EOF) {
		return "", c.err
	}
	return hex.EncodeToString(c.sum.Sum(nil)), nil
}

// Places yields the places of the commit, "." replaced by the key of the object.
// It ends the events, and can be ranged over once.
func (c *CommitReader) Places() iter.Seq2[Place, error] {
	return func(yield func(Place, error) bool) {
		_, err := c.Hash()
		var r io.Reader
		if err == nil {
			r, err = c.places()
		}
		if err == nil && r != nil {
			err = eachPlace(r, c.key, func(p Place) error {
				if !yield(p, nil) {
					return errStop
				}
				return nil
			})
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(Place{}, inObject(c.key, err))
		}
	}
}

// eachPlace reads a places.ndjson that lies in the object with this key.
func eachPlace(r io.Reader, key string, fn func(Place) error) error {
	return newLines(r).each(func(line []byte) error {
		p, err := parsePlace(line)
		if err != nil {
			return err
		}
		if p.Object == "." {
			p.Object = key
		}
		return fn(p)
	})
}

// ReadCommit calls fn with commit number of the backup, from its own object: an
// object that is absent is objstore.ErrNotExist. (Log.Commits finds segments too.)
func ReadCommit(ctx context.Context, s objstore.Store, backup string, number uint64, fn func(*CommitReader) error) error {
	key := LogKey(backup, number)
	next, stop := iter.Pull2(entriesOf(ctx, s, key))
	defer stop()
	e, err, ok := next()
	if err == nil && (!ok || e.name != commitEntry) {
		err = fmt.Errorf("%w: first entry is %q, want %s", ErrCorrupt, e.name, commitEntry)
	}
	if err != nil {
		return inObject(key, err)
	}
	c, err := newCommitReader(key, backup, number, e, func() (io.Reader, error) {
		e, err, ok := next()
		if err != nil || !ok || e.name != placesEntry {
			return nil, err
		}
		return e.body, nil
	})
	if err != nil {
		return err
	}
	return fn(c)
}

// ReadHeader reads the header of a commit alone, from its own object.
func ReadHeader(ctx context.Context, s objstore.Store, backup string, number uint64) (Header, error) {
	var h Header
	err := ReadCommit(ctx, s, backup, number, func(c *CommitReader) error {
		h = c.Header()
		return nil
	})
	return h, err
}
