package history

import (
	"context"
	"fmt"
	"slices"
)

// span is a run of commit numbers.
type span struct{ from, to uint64 }

// contents is the result of a LIST of a log. It has a span for each run of commits and for
// each segment, so that it is small even for a long log.
type contents struct {
	commits  []span   // objects of single commits, in runs, ascending
	segments []span   // by key, without those that do not belong to the log
	weak     []span   // segments that are used only for commits that no other object has
	foreign  []span   // segments that do not belong to the log
	strays   []span   // single commits from before the log
	newest   uint64   // highest number of any object
	copying  []uint64 // commits that copies put last, see CopyingKey
}

// list lists the objects of the log with numbers above after. It does not see a segment
// that begins at or below after.
func (l *Log) list(ctx context.Context, after uint64) (*contents, error) {
	c := &contents{}
	start := ""
	if after > 0 {
		start = LogKey(l.Backup, after)
	}
	for info, err := range l.Store.List(ctx, LogPrefix(l.Backup), start) {
		if err != nil {
			return nil, err
		}
		from, to, ok := ParseLogKey(l.Backup, info.Key)
		switch {
		case !ok:
			if n, ok := ParseCopyingKey(l.Backup, info.Key); ok {
				c.copying = append(c.copying, n)
			}
			continue
		case info.Key == LogKey(l.Backup, from):
			c.add(from)
		default:
			c.segments = append(c.segments, span{from, to})
		}
		c.newest = max(c.newest, to)
	}
	if err := c.settle(ctx, l); err != nil || after > 0 {
		return c, err
	}
	return c, c.dropBefore(ctx, l)
}

func (c *contents) add(n uint64) {
	if last := len(c.commits) - 1; last >= 0 && c.commits[last].to+1 == n {
		c.commits[last].to = n
		return
	}
	c.commits = append(c.commits, span{n, n})
}

// segment returns the segment that contains commit n. While a segment is merged into a
// larger one, both may contain it; then segment returns the one with the highest end.
func (c *contents) segment(n uint64) (best span, ok bool) {
	for _, s := range c.segments {
		if s.from <= n && n <= s.to && (best.to == 0 || c.better(s, best)) {
			best = s
		}
	}
	return best, best.to > 0
}

// better reports whether segment a is used rather than b.
func (c *contents) better(a, b span) bool {
	if weak := slices.Contains(c.weak, a); weak != slices.Contains(c.weak, b) {
		return !weak
	}
	return a.to > b.to
}

// preferred reports whether commit n is read from a segment even if it has its own object.
func (c *contents) preferred(n uint64) bool {
	s, ok := c.segment(n)
	return ok && !slices.Contains(c.weak, s)
}

// merged reports whether a segment contains commit n.
func (c *contents) merged(n uint64) bool {
	_, ok := c.segment(n)
	return ok
}

// used returns the highest number that was used. The newest commit is never in a segment: if an object
// of the log ends with one, the log has lost the next commit.
func (c *contents) used() uint64 {
	if c.newest > 0 && !c.hasSingle(c.newest) {
		return c.newest + 1
	}
	return c.newest
}

// next returns the first commit from n on that an object contains; 0 = none.
func (c *contents) next(n uint64) uint64 {
	var first uint64
	for _, spans := range [][]span{c.commits, c.segments} {
		for _, s := range spans {
			if at := max(s.from, n); at <= s.to && (first == 0 || at < first) {
				first = at
			}
		}
	}
	return first
}

// Newest returns the highest used number of the log, 0 for an empty log. No object has that commit if
// the log ends with a segment, because that is never the newest object. Newest lists the log
// from a number known to be used (0 = none known), so that a hole does not look like the
// end. If the log ends before from, the error is ErrAbsent.
func (l *Log) Newest(ctx context.Context, from uint64) (uint64, error) {
	c, err := l.list(ctx, max(from, 1)-1)
	if err != nil {
		return 0, err
	}
	if c.used() < from {
		// A segment that begins earlier may contain it.
		if c, err = l.list(ctx, 0); err != nil {
			return 0, err
		}
	}
	if c.used() < from {
		return 0, l.endsWith(from, c.newest)
	}
	return c.used(), nil
}

func (l *Log) endsWith(n, newest uint64) error {
	return fmt.Errorf("commit %d of %s: %w: the log ends with %d", n, l.Backup, ErrAbsent, newest)
}

// First returns the first commit that the log has, 0 for an empty log.
func (l *Log) First(ctx context.Context) (uint64, error) {
	c, err := l.list(ctx, 0)
	if err != nil {
		return 0, err
	}
	return c.next(1), nil
}

// End lists the log after commit from, which can be that of a checkpoint (0 = list from the
// start). It returns the newest commit, or from if there is no later one, and the first
// missing commit between the two, or 0.
func (l *Log) End(ctx context.Context, from uint64) (newest, missing uint64, err error) {
	c, err := l.list(ctx, from)
	if err == nil && c.next(from+1) != from+1 && c.newest > 0 {
		c, err = l.list(ctx, 0) // a segment that begins earlier may contain it
	}
	if err != nil {
		return 0, 0, err
	}
	newest = max(c.used(), from)
	return newest, c.hole(from+1, newest), nil
}

// hole returns the first number from … to that no object contains; 0 = none.
func (c *contents) hole(from, to uint64) uint64 {
	for n := from; n <= to; {
		end := n - 1
		for _, spans := range [][]span{c.commits, c.segments} {
			for _, s := range spans {
				if s.from <= n && n <= s.to {
					end = max(end, s.to)
				}
			}
		}
		if end < n {
			return n
		}
		n = end + 1
	}
	return 0
}
