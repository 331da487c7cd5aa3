package history

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// ErrNotKept reports a moment that retention has removed. The error is a *NotKeptError.
var ErrNotKept = errors.New("not kept any more")

// Kept is a moment that can be loaded.
type Kept struct {
	Number uint64 // 0 = none
	Time   time.Time
}

// String names the commit and its time.
func (k Kept) String() string {
	return fmt.Sprintf("commit %d (%s)", k.Number, k.Time.UTC().Format(time.DateTime+" MST"))
}

// NotKeptError reports a moment that retention has removed, with the nearest moments before and
// after it that can be loaded. Without a moment before it, the error is an ErrBeforeFirst, too.
type NotKeptError struct{ Before, After Kept }

// Error names the nearest moments.
func (e *NotKeptError) Error() string {
	if e.Before.Number == 0 {
		return fmt.Sprintf("%v: retention has removed everything before %v", ErrNotKept, e.After)
	}
	return fmt.Sprintf("%v: retention has removed everything between %v and %v", ErrNotKept, e.Before, e.After)
}

// Is implements errors.Is.
func (e *NotKeptError) Is(err error) bool {
	return err == ErrNotKept || e.Before.Number == 0 && err == ErrBeforeFirst
}

// notKept returns a *NotKeptError if the moment is in the part of the log that retention has
// removed. m is the base: the state at the newest checkpoint before the moment, if any. have lists
// the log.
func (l *loader) notKept(m *Mem, have *contents) error {
	first := have.next(1)
	if l.at.FromLog || l.atEnd() || first <= 1 || m.tip.Number+1 >= first || l.at.Number > 0 && l.at.Number == m.tip.Number {
		return nil
	}
	i := len(l.numbers) - 1 // the newest is first
	for i >= 0 && l.numbers[i]+1 < first {
		i--
	}
	if i < 0 || l.at.Number >= l.numbers[i] {
		return nil
	}
	after := Kept{Number: l.numbers[i]}
	next, err := ReadCheckpoint(l.ctx, l.log.Store, l.log.Backup, after.Number)
	if IsUnreadable(err) {
		return nil // this is damage
	}
	if err != nil {
		return err
	}
	if err = l.settleTimes(next); err == nil {
		after.Time = next.Time()
	}
	if err = errors.Join(err, next.Close()); err != nil {
		return err
	}
	if l.at.byTime() && !after.Time.After(l.at.Time) {
		return nil
	}
	if removed, err := l.log.removed(l.ctx, first, have.newest, l.numbers); err != nil || !removed {
		return err
	}
	if l.at.byTime() && sameSecond(m.Time(), l.at.Time) && m.tip.Number > 0 {
		return errBase
	}
	return &NotKeptError{Before: Kept{m.tip.Number, m.Time()}, After: after}
}

// errBase reports that the base itself is the moment.
var errBase = errors.New("the moment is that of the checkpoint")

// sameSecond compares times as people see them.
func sameSecond(a, b time.Time) bool { return a.Unix() == b.Unix() }

// removed reports whether retention has removed the commits before first, the first one in the
// log. It leaves a checkpoint of the last commit that it removes, at the latest at the end of its
// run. Until then, only the retained event in the log shows it.
func (l *Log) removed(ctx context.Context, first, newest uint64, checkpoints []uint64) (bool, error) {
	if slices.Contains(checkpoints, first-1) {
		return true, nil
	}
	return l.Retained(ctx, first, newest)
}

// Retained reports whether a retained event in the commits from first to newest records that all
// commits before first were removed. It reads the log up to that event, and skips unreadable commits.
func (l *Log) Retained(ctx context.Context, first, newest uint64) (bool, error) {
	return l.retained(l.Readable(ctx, Tip{Number: first - 1}, newest), first)
}

// retained skips what an error does not end.
func (l *Log) retained(commits iter.Seq2[*CommitReader, error], first uint64) (bool, error) {
	for c, err := range commits {
		removed := false
		if err == nil {
			removed, err = c.removes(first)
		}
		if removed || err != nil && !IsUnreadable(err) {
			return removed, err
		}
	}
	return false, nil
}

// removes reports whether the commit has a retained event about all commits before first.
func (c *CommitReader) removes(first uint64) (bool, error) {
	for e, err := range c.Events() {
		if err != nil {
			return false, err
		}
		if e, ok := e.(*RetainedEvent); ok && e.To >= first-1 {
			return true, nil
		}
	}
	return false, nil
}
