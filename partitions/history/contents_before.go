package history

import (
	"context"
	"errors"

	"github.com/cyrusbackup/backupd/objstore"
)

// A writer that slept until retention had removed the number that it wanted can put its commit
// there, and the put of a segment can arrive that late. Its check of the commit before fails, so no
// client relies on it. Readers ignore such objects: they are before a hole, after which the log
// begins where retention has ended.

// dropBefore drops the objects before the place where retention has ended. It costs requests only
// if commits are missing between two others.
func (c *contents) dropBefore(ctx context.Context, l *Log) error {
	var begin uint64
	for n := c.next(1); n > 0; {
		hole := c.hole(n, c.newest)
		if hole == 0 {
			break
		}
		if n = c.next(hole); n == 0 {
			break
		}
		ended, err := l.retentionEnded(ctx, c, n)
		if err != nil {
			return err
		}
		if ended {
			begin = n
		}
	}
	if begin > 0 {
		c.cut(begin)
	}
	return nil
}

// retentionEnded reports whether retention has removed all commits before first: there is a
// checkpoint of the last one, and a retained event.
func (l *Log) retentionEnded(ctx context.Context, c *contents, first uint64) (bool, error) {
	_, err := l.Store.Stat(ctx, CheckpointKey(l.Backup, first-1))
	if errors.Is(err, objstore.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	to := c.newest
	if hole := c.hole(first, c.newest); hole > 0 {
		to = hole - 1 // reading a missing commit would list the log again, without an end
	}
	return l.retained(l.commitsAfter(ctx, Tip{Number: first - 1}, to, c), first)
}

// cut moves the objects that begin before a number to strays and foreign.
func (c *contents) cut(first uint64) {
	var commits, segments []span
	for _, s := range c.commits {
		if s.from < first {
			c.strays = append(c.strays, span{s.from, min(s.to, first-1)})
		}
		if s.to >= first {
			commits = append(commits, span{max(s.from, first), s.to})
		}
	}
	for _, s := range c.segments {
		if s.to < first {
			c.foreign = append(c.foreign, s)
		} else {
			segments = append(segments, s)
		}
	}
	c.commits, c.segments = commits, segments
}

// oddBefore returns the single commits that cut has dropped.
func (c *contents) oddBefore(l *Log) (odd []Odd) {
	for _, s := range c.strays {
		for n := s.from; n <= s.to; n++ {
			odd = append(odd, Odd{LogKey(l.Backup, n), n, n, "retention had removed this commit, so readers ignore the one that was put later"})
		}
	}
	return odd
}
