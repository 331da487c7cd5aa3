package history

import (
	"context"
	"errors"
	"fmt"
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

// contradicts is Contradicts with a list of the log from the checkpoint on. The next commit decides
// first: a writer that slept can put a stray commit at the number where retention has ended. If the log has neither the
// commit of the checkpoint nor the one after it, it ends before the checkpoint or begins after it. Times
// in a log never decrease, so a log that ends before it, but later, is another one.
func (l *Log) contradicts(ctx context.Context, have *contents, checkpoint Tip) (bool, error) {
	n := checkpoint.Number
	for _, decide := range []func(context.Context, *contents, Tip) (bool, error){l.otherPrev, l.otherCommit} {
		other, err := decide(ctx, have, checkpoint)
		if !errors.Is(err, errUndecided) && !IsUnreadable(err) {
			return other, err
		}
	}
	if have.newest == 0 || have.newest >= n {
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
	beyond, err := l.Beyond(ctx, newest)
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

// Beyond returns the checkpoints of commits after the newest one in the log, newest first.
func (l *Log) Beyond(ctx context.Context, newest uint64) (beyond []BeyondEnd, err error) {
	numbers, err := l.Checkpoints(ctx)
	if err != nil {
		return nil, err
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
			return nil, err
		}
		beyond = append(beyond, b)
	}
	return beyond, nil
}
