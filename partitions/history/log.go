package history

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// Log is the log of one backup, read from a partition.
type Log struct {
	Store  objstore.Store
	Backup string // path, as "user/anne"
	ID     string // in backup.json, to recognize a copy that is not complete (CopyingKey); "" = does not matter
}

// Tip is a point in a log: a commit, described by the values that the next one is checked
// against.
type Tip struct {
	Number uint64
	Hash   string    // of commit.ndjson, hex; "" = unknown, not compared
	Time   time.Time // store time; zero = unknown
}

// Commits yields the commits from … to, both included, read from single objects and
// segments. It compares hash, number and time of each commit with the previous one, but
// not those of the first commit, unless from is 1. Events that the loop does not read
// are skipped. A number that no object holds is ErrAbsent.
func (l *Log) Commits(ctx context.Context, from, to uint64) iter.Seq2[*CommitReader, error] {
	return l.CommitsAfter(ctx, Tip{Number: max(from, 1) - 1}, to)
}

// CommitsAfter is like Commits from the commit after tip, and compares the first commit
// with tip.
func (l *Log) CommitsAfter(ctx context.Context, tip Tip, to uint64) iter.Seq2[*CommitReader, error] {
	return l.commitsAfter(ctx, tip, to, nil)
}

// CommitsToEnd is CommitsAfter up to the newest commit. It lists the log once.
func (l *Log) CommitsToEnd(ctx context.Context, tip Tip) iter.Seq2[*CommitReader, error] {
	return func(yield func(*CommitReader, error) bool) {
		have, err := l.listFrom(ctx, tip.Number)
		if err == nil && have.newest < tip.Number {
			err = l.endsWith(tip.Number, have.newest)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		for c, err := range l.commitsAfter(ctx, tip, max(have.used(), tip.Number), have) {
			if !yield(c, err) {
				return
			}
		}
	}
}

// commitsAfter is CommitsAfter with the contents of the log, which may be nil.
func (l *Log) commitsAfter(ctx context.Context, tip Tip, to uint64, have *contents) iter.Seq2[*CommitReader, error] {
	return func(yield func(*CommitReader, error) bool) {
		w := walk{log: l, store: l.Store, tip: tip, yield: yield, contents: have}
		if to > tip.Number+1 {
			w.ahead = newAhead(ctx, l.Store, l.Backup, tip.Number+1, to)
			w.store = w.ahead
			defer w.ahead.close()
		}
		for w.tip.Number < to && !w.stopped {
			if err := w.step(ctx, to); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// walk is a single read of a log.
type walk struct {
	log      *Log
	store    objstore.Store // of single commits
	ahead    *ahead         // the same store, if there is more than one commit to read
	tip      Tip
	yield    func(*CommitReader, error) bool
	stopped  bool // by the loop
	visited  int  // commits
	contents *contents
}

// step visits the commit after the tip, or the rest of the segment that holds it.
func (w *walk) step(ctx context.Context, to uint64) error {
	n, visited := w.tip.Number+1, w.visited
	if w.contents != nil && w.contents.preferred(n) {
		err := w.segment(ctx, n, to)
		if !errors.Is(err, objstore.ErrNotExist) || w.visited > visited {
			return err
		}
		w.contents = nil // out of date
	}
	if w.ahead != nil {
		w.ahead.request(n)
	}
	err := ReadCommit(ctx, w.store, w.log.Backup, n, w.visit)
	if w.ahead != nil {
		w.ahead.adapt(!errors.Is(err, objstore.ErrNotExist))
	}
	// A merge puts the larger segment before it deletes the smaller ones. A segment from
	// the last LIST may therefore be missing, but a new LIST finds its replacement.
	for fresh := false; errors.Is(err, objstore.ErrNotExist) && w.visited == visited && !fresh; {
		if w.contents == nil || !w.contents.merged(n) {
			if w.contents, err = w.log.list(ctx, 0); err != nil {
				return err
			}
			fresh = true
		}
		if err = w.segment(ctx, n, to); errors.Is(err, objstore.ErrNotExist) && !fresh {
			w.contents = nil
		}
	}
	return err
}

// segment visits commits n … to of the segment that contains n.
func (w *walk) segment(ctx context.Context, n, to uint64) error {
	seg, ok := w.contents.segment(n)
	if !ok {
		return w.log.absent(n)
	}
	for c, err := range readSegment(ctx, w.log.Store, w.log.Backup, seg.from, seg.to, n) {
		if err != nil {
			return err
		}
		if c.Header().Number > to {
			return nil
		}
		if err := w.visit(c); err != nil || w.stopped {
			return err
		}
	}
	return nil
}

func (w *walk) visit(c *CommitReader) error {
	if err := w.tip.follow(c); err != nil {
		return err
	}
	w.visited++
	if !w.yield(c, nil) {
		w.stopped = true
		return nil
	}
	return w.tip.advance(c)
}

// follow checks that c can be the commit after t.
func (t *Tip) follow(c *CommitReader) error {
	h := c.Header()
	var err error
	switch {
	case t.Number == 0 && h.Prev != "":
		err = fmt.Errorf("%w: commit 1 names a previous commit", ErrCorrupt)
	// A commit has no Prev if its writer could not read the previous commit, although a
	// checkpoint may know that one's hash.
	case t.Hash != "" && h.Prev != "" && h.Prev != t.Hash:
		err = fmt.Errorf("%w: commit %d follows a commit with hash %.16q…, but commit %d has hash %.16q…", ErrCorrupt, h.Number, h.Prev, t.Number, t.Hash)
	case h.Time.Before(t.Time):
		err = fmt.Errorf("%w: commit %d (%s) is older than commit %d (%s)", ErrCorrupt,
			h.Number, h.Time.Format(time.RFC3339Nano), t.Number, t.Time.Format(time.RFC3339Nano))
	}
	return inObject(c.Key(), err)
}

// advance makes c the tip. It skips the remaining events.
func (t *Tip) advance(c *CommitReader) error {
	sum, err := c.Hash()
	if err != nil {
		return err
	}
	h := c.Header()
	*t = Tip{Number: h.Number, Hash: sum, Time: h.Time}
	return nil
}
