package history

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

// segmentEntry returns the name of an entry of commit n in a segment.
func segmentEntry(n uint64, name string) string { return fmt.Sprintf("%016d/%s", n, name) }

// readSegment yields the commits of a segment in order. It skips commits before from.
func readSegment(ctx context.Context, s objstore.Store, backup string, first, last, from uint64) iter.Seq2[*CommitReader, error] {
	key := SegmentKey(backup, first, last)
	return func(yield func(*CommitReader, error) bool) {
		next, stop := iter.Pull2(entriesOf(ctx, s, key))
		defer stop()
		e, err, ok := next()
		for n := first; n <= last; n++ {
			if err == nil && (!ok || e.name != segmentEntry(n, commitEntry)) {
				err = fmt.Errorf("%w: entry %q, want commit %d", ErrCorrupt, e.name, n)
			}
			if err != nil {
				yield(nil, inObject(key, err))
				return
			}
			// ahead reads the next entry once, whether for Places or for the next commit.
			asked := false
			ahead := func() (io.Reader, error) {
				if !asked {
					asked = true
					e, err, ok = next()
				}
				if err != nil || !ok || e.name != segmentEntry(n, placesEntry) {
					return nil, err
				}
				return e.body, nil
			}
			if n >= from {
				c, cerr := newCommitReader(key, backup, n, e, ahead)
				if !yield(c, cerr) || cerr != nil {
					return
				}
			}
			// Skip the bodies of the commit, which follow its places.
			_, _ = ahead()
			for err == nil && ok && strings.HasPrefix(e.name, segmentEntry(n, "")) {
				e, err, ok = next()
			}
		}
	}
}

// SegmentBuilder merges consecutive commits into one object. It copies each commit.ndjson
// byte for byte. Not safe for concurrent use.
type SegmentBuilder struct {
	backup string
	w      *pack.Writer
	first  uint64
	tip    Tip
}

// NewSegmentBuilder begins a segment of the backup.
func NewSegmentBuilder(backup string, o pack.Options) *SegmentBuilder {
	return &SegmentBuilder{backup: backup, w: pack.NewWriter(nil, o)}
}

// Add appends the next commit, whose events must be unread. place returns the current
// place of a chunk; nil keeps all places. A place in the commit's own object is an error,
// because that object will be deleted: its bodies must be packed first.
func (b *SegmentBuilder) Add(c *CommitReader, place func(Place) (Place, error)) error {
	n := c.Header().Number
	if b.first == 0 {
		b.first, b.tip.Number = n, n-1
	}
	if c.Header().Backup != b.backup || n != b.tip.Number+1 {
		return fmt.Errorf("segment of %s: commit %d of %s after commit %d", b.backup, n, c.Header().Backup, b.tip.Number)
	}
	if err := b.tip.follow(c); err != nil {
		return err
	}
	if err := b.w.AddReader(segmentEntry(n, commitEntry), c.Size(), c.raw()); err != nil {
		return inObject(c.Key(), err)
	}
	var places []byte
	for p, err := range c.Places() {
		if err == nil && place != nil {
			p, err = place(p)
		}
		if err == nil && p.Object == c.Key() {
			err = fmt.Errorf("%s: still holds the body of chunk %s: pack it first", c.Key(), p.Chunk)
		}
		if err != nil {
			return err
		}
		places = p.append(places)
	}
	if len(places) > 0 {
		if err := b.w.Add(segmentEntry(n, placesEntry), places); err != nil {
			return err
		}
	}
	return b.tip.advance(c)
}

// Len returns the size of the object so far, in bytes.
func (b *SegmentBuilder) Len() int { return b.w.Len() }

// Finish returns the object and its key. After putting it, the caller can delete the
// objects of the single commits, in ascending order.
func (b *SegmentBuilder) Finish() (key string, object []byte, err error) {
	if b.first == 0 {
		return "", nil, fmt.Errorf("segment of %s has no commits", b.backup)
	}
	object, err = b.w.Finish()
	return SegmentKey(b.backup, b.first, b.tip.Number), object, err
}
