package history

import (
	"context"
	"errors"
	"iter"
)

// GapError stands for a run of commits that cannot be read in the sequence of Readable.
type GapError struct{ Gap }

// Error names the commits and says why they cannot be read.
func (e *GapError) Error() string { return e.String() + ": " + e.Err.Error() }
func (e *GapError) Unwrap() error { return e.Err }

// Readable is CommitsAfter for readers that want what there is: it goes on behind commits
// that cannot be read. Each run of them is yielded as a *GapError, after which the sequence
// continues; any other error ends it. A commit whose events fail under way is followed by a
// GapError that names it.
func (l *Log) Readable(ctx context.Context, tip Tip, to uint64) iter.Seq2[*CommitReader, error] {
	return func(yield func(*CommitReader, error) bool) {
		for tip.Number < to {
			stopped := false
			err := l.upToDamage(ctx, &tip, to, func(c *CommitReader) bool {
				stopped = !yield(c, nil)
				return !stopped
			})
			if err == nil || stopped {
				return
			}
			gap, err := l.gapAt(ctx, tip.Number+1, to, err)
			if err != nil {
				yield(nil, err)
				return
			}
			if gap == nil {
				tip = Tip{Number: tip.Number} // it only does not continue the one before it
				continue
			}
			tip = Tip{Number: gap.To}
			if !yield(nil, &GapError{*gap}) {
				return
			}
		}
	}
}

// upToDamage calls fn with commits after tip and moves tip along.
func (l *Log) upToDamage(ctx context.Context, tip *Tip, to uint64, fn func(*CommitReader) bool) error {
	for c, err := range l.CommitsAfter(ctx, *tip, to) {
		if err != nil {
			return err
		}
		if !fn(c) {
			return nil
		}
		if err := tip.advance(c); err != nil {
			return err
		}
	}
	return nil
}

// gapAt finds the run of unreadable commits that begins with n, after reading it has
// failed with err; nil if n can be read.
func (l *Log) gapAt(ctx context.Context, n, to uint64, err error) (*Gap, error) {
	if !IsUnreadable(err) {
		return nil, err
	}
	have, lerr := l.list(ctx, 0)
	if lerr != nil {
		return nil, lerr
	}
	if next := have.next(n); next != n {
		end := to
		if next > 0 {
			end = min(to, next-1)
		}
		return &Gap{From: n, To: end, Err: l.absent(n)}, nil
	}
	_, rerr := l.check(ctx, n, nil)
	switch {
	case rerr == nil:
		return nil, nil
	case !IsUnreadable(rerr):
		return nil, rerr
	}
	return &Gap{From: n, To: n, Err: rerr}, nil
}

// Unreadable is nil if commit n can be read from the log, and otherwise the gap that it is.
func (l *Log) Unreadable(ctx context.Context, n uint64) (*Gap, error) {
	_, err := l.check(ctx, n, nil)
	if err == nil || !IsUnreadable(err) {
		return nil, err
	}
	return &Gap{From: n, To: n, Err: err}, nil
}

// IsGap says that err is a *GapError of Readable: the sequence goes on.
func IsGap(err error) (*GapError, bool) {
	var g *GapError
	return g, errors.As(err, &g)
}
