package history

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"iter"

	"github.com/cyrusbackup/backupd/objstore"
)

// WholeCommit is a commit with its bodies, in memory. Everything in it has been checked.
type WholeCommit struct {
	Header  Header
	Hash    string
	Places  []Place // "." replaced by the key of the object
	Bodies  []InlineBody
	Private map[ChunkID]bool // the chunks of messages that no other backup may refer to

	key            string
	events, places []byte
}

// InlineBody is a body in the object of a commit.
type InlineBody struct {
	Entry string
	Chunk ChunkID
	Body  []byte
}

// Size returns the bytes of memory that the commit takes without its bodies.
func (c *WholeCommit) Size() int { return len(c.events) + 2*len(c.places) }

// ReadWhole reads a commit from its own object. It parses each event, and compares each body
// with the hash of its chunk. A commit of more than most bytes is ErrTooLarge.
func ReadWhole(ctx context.Context, s objstore.Store, backup string, number uint64, most int64) (*WholeCommit, error) {
	c := &WholeCommit{key: LogKey(backup, number)}
	bodies := map[string][]byte{}
	var total int64
	for e, err := range entriesOf(ctx, s, c.key) {
		if err == nil {
			if total += e.size; total > most {
				err = fmt.Errorf("commit %d of %s: %w: more than %d bytes", number, backup, ErrTooLarge, most)
			}
		}
		var b []byte
		if err == nil {
			b, err = io.ReadAll(e.body)
		}
		switch {
		case err != nil:
			return nil, inObject(c.key, err)
		case e.name == commitEntry:
			c.events = b
		case e.name == placesEntry:
			c.places = b
		default:
			bodies[e.name] = b
		}
	}
	if err := c.check(backup, number, bodies); err != nil {
		return nil, inObject(c.key, err)
	}
	return c, nil
}

// check parses the commit, and finds its bodies.
func (c *WholeCommit) check(backup string, number uint64, bodies map[string][]byte) error {
	if c.events == nil {
		return fmt.Errorf("%w: no %s", ErrCorrupt, commitEntry)
	}
	r, err := c.reader(backup, number)
	if err != nil {
		return err
	}
	c.Header = r.Header()
	for e, err := range r.Events() {
		if err != nil {
			return err
		}
		if m, ok := e.(*MessagesEvent); ok {
			c.notePrivate(m.Messages)
		}
	}
	for p, err := range r.Places() {
		if err != nil {
			return err
		}
		c.Places = append(c.Places, p)
	}
	if c.Hash, err = r.Hash(); err != nil {
		return err
	}
	for _, p := range c.Places {
		if p.Object != c.key {
			continue
		}
		body, ok := bodies[p.Entry]
		if !ok || ChunkID(sha256.Sum256(body)) != p.Chunk || checkNamed(p.Entry, body) != nil {
			return fmt.Errorf("%w: entry %s is missing or is not chunk %s", ErrCorrupt, p.Entry, p.Chunk)
		}
		c.Bodies = append(c.Bodies, InlineBody{p.Entry, p.Chunk, body})
	}
	return nil
}

func (c *WholeCommit) notePrivate(list []Message) {
	for _, m := range list {
		if !m.Private {
			continue
		}
		if c.Private == nil {
			c.Private = map[ChunkID]bool{}
		}
		for _, chunk := range m.Chunks {
			c.Private[chunk] = true
		}
	}
}

// DropBodies releases the memory of the bodies, which are stored elsewhere.
func (c *WholeCommit) DropBodies() {
	for i := range c.Bodies {
		c.Bodies[i].Body = nil
	}
}

func (c *WholeCommit) reader(backup string, number uint64) (*CommitReader, error) {
	e := entry{commitEntry, int64(len(c.events)), bytes.NewReader(c.events)}
	return newCommitReader(c.key, backup, number, e, func() (io.Reader, error) { return bytes.NewReader(c.places), nil })
}

// Reader returns a reader of the commit, for a SegmentBuilder.
func (c *WholeCommit) Reader() (*CommitReader, error) {
	return c.reader(c.Header.Backup, c.Header.Number)
}

// ReadSegment yields the commits of the segment from … to, in order.
func ReadSegment(ctx context.Context, s objstore.Store, backup string, from, to uint64) iter.Seq2[*CommitReader, error] {
	return readSegment(ctx, s, backup, from, to, from)
}
