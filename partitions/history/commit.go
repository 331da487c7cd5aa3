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

// CommitReader reads a commit as a stream: it holds only the header and one line. It is
// valid only inside the function or loop that receives it.
type CommitReader struct {
	header Header
	key    string // of the object, for errors
	first  []byte // line of the header, with newline
	size   int64  // bytes of commit.ndjson
	lines  *lines
	sum    hash.Hash
	err    error // ends the events: io.EOF after the last one
	places func() (io.Reader, error)
}

// newCommitReader reads the header. places opens the commit's places.ndjson after the
// events are read; it returns nil if the commit has no places.
func newCommitReader(key, backup string, number uint64, e entry, places func() (io.Reader, error)) (*CommitReader, error) {
	if e.size > maxCommitSize {
		return nil, inObject(key, fmt.Errorf("%w: %s is too large, %d bytes", ErrCorrupt, e.name, e.size))
	}
	c := &CommitReader{key: key, size: e.size, sum: sha256.New(), places: places}
	c.lines = newLines(io.TeeReader(e.body, c.sum), e.size)
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

// Header returns the header, the first line of the commit.
func (c *CommitReader) Header() Header { return c.header }

// Key returns the key of the object being read: the commit's own or a segment.
func (c *CommitReader) Key() string { return c.key }

// Size returns the length of the uncompressed commit.ndjson.
func (c *CommitReader) Size() int64 { return c.size }

// raw returns a reader of the uncompressed commit.ndjson. Events yields nothing after it.
func (c *CommitReader) raw() io.Reader {
	c.err = io.EOF
	return io.MultiReader(bytes.NewReader(c.first), c.lines.r)
}

// Events yields the events in order, each one once: a second range continues where the
// first one stopped. An error ends the sequence and names the object.
func (c *CommitReader) Events() iter.Seq2[Event, error] { return c.eventsBy(ParseEvent) }

// eventsBy parses the lines and yields the events. It skips lines for which parse returns nil.
func (c *CommitReader) eventsBy(parse func(line []byte) (Event, error)) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for c.err == nil {
			line, err := c.lines.next()
			if err != nil {
				c.end(err)
				break
			}
			e, err := parse(line)
			if err == nil && e == nil {
				continue
			}
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

// Hash returns the SHA-256 of the uncompressed commit.ndjson in hex, which is the Prev of
// the next commit. It reads the remaining events without parsing them.
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

// Places yields the places of the commit, with "." replaced by the key of the object.
// It skips the remaining events, and can be ranged over once.
func (c *CommitReader) Places() iter.Seq2[Place, error] {
	return c.placesExcept(func([]byte) bool { return false })
}

// LogPlaces is Places without those in packs, which are neither parsed nor checked.
func (c *CommitReader) LogPlaces() iter.Seq2[Place, error] { return c.placesExcept(isInPack) }

func (c *CommitReader) placesExcept(skip func(line []byte) bool) iter.Seq2[Place, error] {
	return func(yield func(Place, error) bool) {
		_, err := c.Hash()
		var r io.Reader
		if err == nil {
			r, err = c.places()
		}
		if err == nil && r != nil {
			err = eachPlaceExcept(r, c.key, skip, func(p Place) error {
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

// eachPlace calls fn for each place of a places.ndjson in the object with this key.
func eachPlace(r io.Reader, key string, fn func(Place) error) error {
	return eachPlaceExcept(r, key, func([]byte) bool { return false }, fn)
}

// somePlaces is a buffer for the places of a commit: some dozens at a time.
const somePlaces = 8 << 10

func eachPlaceExcept(r io.Reader, key string, skip func(line []byte) bool, fn func(Place) error) error {
	var places placeParser
	return newLines(r, somePlaces).each(func(line []byte) error {
		if skip(line) {
			return nil
		}
		p, err := places.parse(line)
		if err != nil {
			return err
		}
		if p.Object == "." {
			p.Object = key
		}
		return fn(p)
	})
}

// ReadCommit calls fn with the given commit of the backup, read from its own object.
// The error is objstore.ErrNotExist if there is no such object. (Log.Commits also reads
// segments.)
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

// ReadHeader reads only the header of a commit, from the commit's own object.
func ReadHeader(ctx context.Context, s objstore.Store, backup string, number uint64) (Header, error) {
	var h Header
	err := ReadCommit(ctx, s, backup, number, func(c *CommitReader) error {
		h = c.Header()
		return nil
	})
	return h, err
}
