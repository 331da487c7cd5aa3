package history

import (
	"context"
	"errors"

	"github.com/cyrusbackup/backupd/objstore"
)

// A writer that slept until retention had removed the number that it wanted can put its commit
// there, and the put of a segment can arrive that late. Its check of the commit before fails, so no
// client relies on it. Readers ignore such objects. Most are before a hole, after which the log begins
// where retention has ended. Without a hole, the first commit of the log contradicts them.

// dropBefore drops the objects before the place where retention has ended. It costs a request if the
// log does not begin with commit 1, and more only if commits are missing between two others, or while
// retention removes some.
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
	return c.dropAdjacent(ctx, l)
}

// dropAdjacent drops objects right before the place where retention has ended, or where it was
// interrupted, if the commit there does not follow them. Others stay: retention has left them.
func (c *contents) dropAdjacent(ctx context.Context, l *Log) error {
	first := c.next(1)
	if first <= 1 {
		return nil
	}
	end, err := l.checkpointFrom(ctx, first-1)
	if err != nil || end < first {
		return err
	}
	for _, n := range []uint64{end, first} {
		stray, err := l.contradicted(ctx, c, n)
		if err == nil && stray {
			stray, err = l.removedBefore(ctx, c, n+1)
		}
		if err != nil {
			return err
		}
		if stray {
			c.cut(n + 1)
			return nil
		}
	}
	return nil
}

// checkpointFrom returns the first checkpoint of commit n or a later one; 0 = none.
func (l *Log) checkpointFrom(ctx context.Context, n uint64) (uint64, error) {
	after := ""
	if n > 1 {
		after = CheckpointKey(l.Backup, n-1)
	}
	for info, err := range l.Store.List(ctx, CheckpointPrefix(l.Backup), after) {
		if err != nil {
			return 0, err
		}
		if number, ok := ParseCheckpointKey(l.Backup, info.Key); ok {
			return number, nil
		}
	}
	return 0, nil
}

// contradicted reports whether commit n+1 names another hash than that of commit n. If one of them
// is unreadable, nothing shows that.
func (l *Log) contradicted(ctx context.Context, c *contents, n uint64) (bool, error) {
	if s, ok := c.segment(n); ok && s.to > n {
		return false, nil // a segment has both
	}
	prev, err := l.prevAfter(ctx, c, span{n, n})
	if err == nil && prev != "" {
		var hash string
		if hash, err = l.hashOf(ctx, c, n); err == nil {
			return hash != prev, nil
		}
	}
	if IsUnreadable(err) {
		err = nil
	}
	return false, err
}

// hashOf returns the hash of a commit in the object that readers prefer. It does not list the log.
func (l *Log) hashOf(ctx context.Context, c *contents, n uint64) (string, error) {
	s, ok := c.segment(n)
	if c.hasSingle(n) && !c.preferred(n) || !ok {
		return l.singleHash(ctx, n)
	}
	for r, err := range readSegment(ctx, l.Store, l.Backup, s.from, s.to, n) {
		if err != nil {
			return "", err
		}
		return r.Hash()
	}
	return "", l.absent(n)
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
	return l.removedBefore(ctx, c, first)
}

// removedBefore reports whether a retained event, in the log from first on, records that all commits
// before were removed.
func (l *Log) removedBefore(ctx context.Context, c *contents, first uint64) (bool, error) {
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
