package history

import (
	"context"
	"slices"
)

// A segment can be in the log that does not belong to it. A request to put one may arrive
// after its program has lost the right to it, and find another backup under the same name.
// Also, a program that slept while its commit number was merged can put another commit under
// it. The chain of hashes decides: a segment belongs to the log if the next commit names the
// hash of its last commit. The newest commit is never in a segment, so there is a next one.

// settle checks the segments that another object contradicts, or that end after the newest
// single commit. It drops those that do not belong to the log. This costs requests only if
// there are such segments: during a merge, after an interrupted one, or after a fault.
func (c *contents) settle(ctx context.Context, l *Log) error {
	var foreign []span
	for _, s := range c.segments {
		if !c.doubtful(s) {
			continue
		}
		belongs, err := l.belongs(ctx, c, s)
		switch {
		case IsUnreadable(err):
			c.weak = append(c.weak, s)
		case err != nil:
			return err
		case !belongs:
			foreign = append(foreign, s)
		}
	}
	c.drop(foreign)
	return nil
}

// doubtful reports whether another object has commits of the segment, or none follows it.
func (c *contents) doubtful(s span) bool {
	for _, o := range c.segments {
		if o != s && o.from <= s.to && s.from <= o.to {
			return true
		}
	}
	if len(c.commits) == 0 {
		return false // the newest commits are lost, so there is no other log
	}
	return s.to >= c.commits[len(c.commits)-1].to || c.single(s) > 0
}

// single returns the highest commit of the segment that also has its own object; 0 = none.
func (c *contents) single(s span) (n uint64) {
	for _, r := range c.commits {
		if r.from <= s.to && s.from <= r.to {
			n = max(n, min(r.to, s.to))
		}
	}
	return n
}

func (c *contents) drop(foreign []span) {
	if len(foreign) == 0 {
		return
	}
	c.foreign = foreign
	c.segments = slices.DeleteFunc(c.segments, func(s span) bool { return slices.Contains(foreign, s) })
	c.newest = 0
	for _, spans := range [][]span{c.commits, c.segments} {
		for _, s := range spans {
			c.newest = max(c.newest, s.to)
		}
	}
}

// belongs reports whether a doubtful segment belongs to the log.
func (l *Log) belongs(ctx context.Context, c *contents, s span) (bool, error) {
	same := c.single(s) // to compare if no commit follows
	var hash string
	tip := Tip{Number: s.from - 1}
	hashes := map[uint64]string{}
	for r, err := range readSegment(ctx, l.Store, l.Backup, s.from, s.to, s.from) {
		if err == nil {
			err = tip.follow(r)
		}
		if err == nil {
			err = tip.advance(r)
		}
		if err != nil {
			return false, err
		}
		if tip.Number == same {
			hashes[same] = tip.Hash
		}
	}
	hash = tip.Hash
	prev, err := l.prevAfter(ctx, c, s)
	if err != nil || prev != "" {
		return prev == hash, err
	}
	if same == 0 {
		return true, nil
	}
	single, err := l.singleHash(ctx, same)
	if IsUnreadable(err) {
		return true, nil
	}
	return single == hashes[same], err
}

// prevAfter returns the hash that the commit after a segment names; "" = unknown.
func (l *Log) prevAfter(ctx context.Context, c *contents, s span) (prev string, err error) {
	n := s.to + 1
	if c.hasSingle(n) {
		h, err := ReadHeader(ctx, l.Store, l.Backup, n)
		if err == nil || !IsUnreadable(err) {
			return h.Prev, err
		}
	}
	for _, o := range c.segments {
		if o.from > n || n > o.to {
			continue
		}
		for r, err := range readSegment(ctx, l.Store, l.Backup, o.from, o.to, n) {
			if err == nil {
				return r.Header().Prev, nil
			}
			if !IsUnreadable(err) {
				return "", err
			}
		}
	}
	return "", nil
}

func (c *contents) hasSingle(n uint64) bool {
	return slices.ContainsFunc(c.commits, func(r span) bool { return r.from <= n && n <= r.to })
}

// singleHash returns the hash of a commit in its own object.
func (l *Log) singleHash(ctx context.Context, n uint64) (hash string, err error) {
	err = ReadCommit(ctx, l.Store, l.Backup, n, func(c *CommitReader) error {
		hash, err = c.Hash()
		return err
	})
	return hash, err
}

// Odd is an object that is in the place of a log, but not a part of it.
type Odd struct {
	Key      string
	From, To uint64
	Reason   string
}

// Odd returns the segments that do not belong to the log, and the single commits that
// differ from those in a segment that does. Readers ignore both.
func (l *Log) Odd(ctx context.Context) (odd []Odd, err error) {
	c, err := l.list(ctx, 0)
	if err != nil {
		return nil, err
	}
	odd = c.oddBefore(l)
	for _, s := range c.foreign {
		odd = append(odd, Odd{SegmentKey(l.Backup, s.from, s.to), s.from, s.to, "the segment does not continue the log, so readers ignore it"})
	}
	for _, s := range c.segments {
		if c.single(s) == 0 || slices.Contains(c.weak, s) {
			continue
		}
		strays, err := l.strays(ctx, c, s)
		if err != nil {
			return nil, err
		}
		odd = append(odd, strays...)
	}
	return odd, nil
}

// strays returns the single commits that differ from those in a segment of the log.
func (l *Log) strays(ctx context.Context, c *contents, s span) (odd []Odd, err error) {
	for r, err := range readSegment(ctx, l.Store, l.Backup, s.from, s.to, s.from) {
		if err != nil {
			return nil, err
		}
		n := r.Header().Number
		if !c.hasSingle(n) {
			continue
		}
		hash, err := r.Hash()
		if err != nil {
			return nil, err
		}
		single, err := l.singleHash(ctx, n)
		if err != nil && !IsUnreadable(err) {
			return nil, err
		}
		if err == nil && single != hash {
			odd = append(odd, Odd{LogKey(l.Backup, n), n, n, "the segment with this number continues the log, so readers ignore the single commit"})
		}
	}
	return odd, nil
}
