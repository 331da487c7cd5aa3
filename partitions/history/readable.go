package history

import (
	"context"
	"errors"
	"iter"
)

// GapError reports a run of unreadable commits in the sequence of Readable.
type GapError struct{ Gap }

// Error names the commits and the reason.
func (e *GapError) Error() string { return e.String() + ": " + e.Err.Error() }
func (e *GapError) Unwrap() error { return e.Err }

// Readable is like CommitsAfter, but continues after unreadable commits. It yields each
// run of them as a *GapError; any other error ends the sequence. If reading the events of
// a commit fails, a GapError that names the commit follows.
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
				tip = Tip{Number: tip.Number} // commit is readable, but does not continue the previous one
				continue
			}
			tip = Tip{Number: gap.To}
			if !yield(nil, &GapError{*gap}) {
				return
			}
		}
	}
}

// upToDamage calls fn with commits after tip, and advances tip.
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

// gapAt returns the run of unreadable commits that begins with n, after a read failed with
// err. It returns nil if n is readable.
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

// Unreadable returns commit n as a Gap if it cannot be read from the log, and otherwise
// nil.
func (l *Log) Unreadable(ctx context.Context, n uint64) (*Gap, error) {
	_, err := l.check(ctx, n, nil)
	if err == nil || !IsUnreadable(err) {
		return nil, err
	}
	return &Gap{From: n, To: n, Err: err}, nil
}

// IsGap reports whether err is a *GapError of Readable, after which the sequence
// continues.
func IsGap(err error) (*GapError, bool) {
	var g *GapError
	return g, errors.As(err, &g)
}
