package history

import (
	"context"
	"fmt"
	"io"
	"iter"

	"backupd/objstore"
)

// segmentEntry is the name of an entry of commit n in a segment.
func segmentEntry(n uint64, name string) string { return fmt.Sprintf("%016d.%s", n, name) }

// readSegment yields the commits of a segment in order, those below from skipped.
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
			// ahead is read by whoever comes first: Places, or the step to the next commit.
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
			if r, _ := ahead(); r != nil && err == nil {
				e, err, ok = next()
			}
		}
	}
}
