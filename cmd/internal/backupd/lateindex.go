package backupd

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/handover"
)

// lateIndex is the index as sessions see it: there as soon as this process has it.
type lateIndex struct {
	cancel context.CancelFunc
	ending <-chan struct{}
	done   chan struct{} // closed when err and opened are final
	opened bool
	err    error
}

// openLate opens the index when role has it, without anybody waiting for that, and
// tells failed if that fails. When ending is closed nobody waits for it any more: a
// session that does is at a command boundary.
func openLate(ctx context.Context, role *handover.Role, open func(context.Context) error, ending <-chan struct{}, failed func(error)) *lateIndex {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &lateIndex{cancel: cancel, ending: ending, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		if l.err = role.Become(ctx); l.err != nil {
			return
		}
		if l.err = open(ctx); l.err != nil {
			if ctx.Err() == nil {
				failed(l.err)
			}
			return
		}
		l.opened = true
	}()
	return l
}

// wait waits until the index is open. It fails with ctx, or when it will not be.
func (l *lateIndex) wait(ctx context.Context) error {
	select {
	case <-l.done:
		return l.err
	default:
	}
	select {
	case <-l.done:
		return l.err
	case <-l.ending:
		return handover.ErrRetired
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop ends a wait and reports whether the index is open and must be closed.
func (l *lateIndex) stop() (opened bool) {
	l.cancel()
	<-l.done
	return l.opened
}
