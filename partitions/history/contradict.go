package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// A request to put a checkpoint may arrive after the bucket was restored to an older state, or after
// the backup was set aside or erased and another one of the same name has begun. The log contradicts
// such a checkpoint, and readers ignore it. Nothing else would reveal it: its state is sound.

// errContradicted reports a checkpoint that readers ignore.
var errContradicted = fmt.Errorf("%w: the log contradicts this checkpoint, so readers ignore it", ErrCorrupt)

// Contradicts reports whether the log shows that a checkpoint with this tip is of another log. A log
// that has just lost its newest commits, or that goes on after a bridge, does not. It lists the log.
func (l *Log) Contradicts(ctx context.Context, checkpoint Tip) (bool, error) {
	have, err := l.listFrom(ctx, checkpoint.Number)
	if err != nil {
		return false, err
	}
	return l.contradicts(ctx, have, checkpoint)
}

// contradicts is Contradicts with a list of the log from the checkpoint on. A commit that names the hash of
// the checkpoint, or has it, is the better evidence: the other one of the two may be a stray commit, of a
// writer that slept or of a former log. If one of them cannot be read, nothing is proven, and nothing is if
// only the next commit is there, and a bridge records it as lost: it did not follow what retention has removed. If the log has
// neither, it ends before the checkpoint or begins after it. Times in a log never decrease, so a log that
// ends before it, but later, is another one.
func (l *Log) contradicts(ctx context.Context, have *contents, checkpoint Tip) (bool, error) {
	next, err := l.otherPrev(ctx, have, checkpoint)
	decided := err == nil
	if decided && !next || IsUnreadable(err) {
		return false, nil
	}
	if !decided && !errors.Is(err, errUndecided) {
		return false, err
	}
	other, err := l.otherCommit(ctx, have, checkpoint)
	switch {
	case IsUnreadable(err):
		return false, nil
	case !errors.Is(err, errUndecided):
		return other, err
	case decided:
		lost, err := l.mayBeLost(ctx, have, checkpoint.Number+1)
		return err == nil && !lost, err
	}
	return l.endedLater(ctx, have, checkpoint)
}

// mayBeLost reports whether a bridge in the log records that commit n is lost, or could: some commits after it
// cannot be read.
func (l *Log) mayBeLost(ctx context.Context, have *contents, n uint64) (bool, error) {
	unreadable := false
	for c, err := range l.Readable(ctx, Tip{Number: n - 1}, have.newest) {
		lost := false
		if err == nil {
			lost, err = c.records(n)
		}
		if lost || err != nil && !IsUnreadable(err) {
			return lost, err
		}
		unreadable = unreadable || err != nil
	}
	return unreadable, nil
}

// records reports whether the commit has a bridged event about commit n.
func (c *CommitReader) records(n uint64) (bool, error) {
	for e, err := range c.Events() {
		if err != nil {
			return false, err
		}
		if b, ok := e.(*BridgedEvent); ok && slices.ContainsFunc(b.Lost, func(r LostRange) bool { return r.From <= n && n <= r.To }) {
			return true, nil
		}
	}
	return false, nil
}

// endedLater reports whether the log ends before the checkpoint, and with a later time.
func (l *Log) endedLater(ctx context.Context, have *contents, checkpoint Tip) (bool, error) {
	if have.newest == 0 || have.newest >= checkpoint.Number {
		return false, nil
	}
	h, err := l.Header(ctx, have.newest)
	if IsUnreadable(err) {
		return false, nil
	}
	return err == nil && h.Time.After(checkpoint.Time), err
}

// errUndecided reports that the log does not have the commit that would decide.
var errUndecided = errors.New("undecided")

// otherCommit compares a checkpoint with the commit of its number.
func (l *Log) otherCommit(ctx context.Context, have *contents, checkpoint Tip) (bool, error) {
	n := checkpoint.Number
	if checkpoint.Hash == "" || !have.hasSingle(n) && !have.merged(n) {
		return false, errUndecided
	}
	for c, err := range l.commitsAfter(ctx, Tip{Number: n - 1}, n, have) {
		if err != nil {
			return false, err
		}
		if c.Header().Time.Equal(checkpoint.Time) {
			return false, nil // the rest, which may be a first upload, need not be read
		}
		break
	}
	hash, err := l.hashOf(ctx, have, n)
	return err == nil && hash != checkpoint.Hash, err
}

// otherPrev compares a checkpoint with the hash in the commit after it. A bridge may follow any commit.
func (l *Log) otherPrev(ctx context.Context, have *contents, checkpoint Tip) (bool, error) {
	n := checkpoint.Number + 1
	if checkpoint.Hash == "" || !have.hasSingle(n) && !have.merged(n) {
		return false, errUndecided
	}
	for c, err := range l.commitsAfter(ctx, Tip{Number: n - 1}, n, have) {
		if err != nil {
			return false, err
		}
		if prev := c.Header().Prev; prev == "" || prev == checkpoint.Hash {
			return false, nil
		}
		for e, err := range c.Events() {
			if err != nil {
				return false, err
			}
			if _, ok := e.(*BridgedEvent); ok {
				return false, errUndecided
			}
		}
		return true, nil
	}
	return false, errUndecided
}

// NewestNumber returns the highest number of a commit in the log, or of a checkpoint that the log does
// not contradict: if the log has lost its newest commits, a checkpoint shows that their numbers were used.
func (l *Log) NewestNumber(ctx context.Context) (uint64, error) {
	newest, err := l.Newest(ctx, 0)
	if err != nil {
		return 0, err
	}
	newest, beyond, err := l.Beyond(ctx, newest)
	for _, c := range beyond {
		if !c.Contradicted {
			newest = max(newest, c.Number)
		}
	}
	return newest, err
}

// BeyondEnd is a checkpoint of a commit after the newest one in the log.
type BeyondEnd struct {
	Number       uint64
	Contradicted bool // by the log, so readers ignore it
}

// Beyond returns the newest commit in the log, and the checkpoints of commits after it, newest first. known
// is a commit that was the newest. If there is a checkpoint after it, the log is listed again: a writer that
// is at work puts commits, and then a checkpoint.
func (l *Log) Beyond(ctx context.Context, known uint64) (newest uint64, beyond []BeyondEnd, err error) {
	numbers, err := l.Checkpoints(ctx)
	if err != nil || len(numbers) == 0 || numbers[0] <= known {
		return known, nil, err
	}
	if newest, err = l.Newest(ctx, 0); err != nil {
		return 0, nil, err
	}
	for _, n := range numbers {
		if n <= newest {
			break
		}
		b := BeyondEnd{Number: n}
		m, err := ReadCheckpoint(ctx, l.Store, l.Backup, n)
		if err == nil {
			b.Contradicted, err = l.Contradicts(ctx, m.Tip())
			err = errors.Join(err, m.Close())
		} else if IsUnreadable(err) {
			err = nil
		}
		if err != nil {
			return 0, nil, err
		}
		beyond = append(beyond, b)
	}
	return newest, beyond, nil
}
