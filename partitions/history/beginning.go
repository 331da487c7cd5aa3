package history

import (
	"context"
	"fmt"
	"slices"
)

// ErrNoBeginning reports a log whose beginning retention has removed, without the checkpoint that
// retention has left there: neither the log nor a checkpoint has the state at its beginning.
var ErrNoBeginning = fmt.Errorf("%w: retention has removed the beginning of the log, and the checkpoint that it has left there is missing or damaged", ErrCorrupt)

// CheckBeginning returns ErrNoBeginning if a state lacks commits that retention has removed. An older
// moment that retention has kept does not replace them.
func (l *Log) CheckBeginning(ctx context.Context, m *Mem) error {
	if gaps := m.unbridged(); len(gaps) == 0 || gaps[0].From != m.Checkpoint().Number+1 {
		return nil
	}
	have, err := l.list(ctx, 0)
	if err != nil {
		return err
	}
	first := have.next(1)
	if m.Checkpoint().Number+1 >= first {
		return nil
	}
	numbers, err := l.Checkpoints(ctx)
	if err != nil {
		return err
	}
	if removed, err := l.removed(ctx, first, have.newest, numbers); err != nil || !removed {
		return err
	}
	return ErrNoBeginning
}

// Beginning returns the checkpoint that has the state before a log whose beginning retention has
// removed. It returns 0 if the log is complete, or if that checkpoint is missing.
func (l *Log) Beginning(ctx context.Context) (uint64, error) {
	have, err := l.list(ctx, 0)
	if err != nil {
		return 0, err
	}
	first := have.next(1)
	if first <= 1 {
		return 0, nil
	}
	numbers, err := l.Checkpoints(ctx)
	if err != nil {
		return 0, err
	}
	for _, n := range slices.Backward(numbers) {
		if n+1 < first {
			continue
		}
		if removed, err := l.removed(ctx, first, have.newest, numbers); err != nil || !removed {
			return 0, err
		}
		return n, nil
	}
	return 0, nil
}
