package history

import (
	"context"
	"slices"
)

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
