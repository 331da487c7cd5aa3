package backupd

import (
	"context"

	"github.com/cyrusbackup/backupd/internal/handover"
)

// pendingIndex is the index as sessions see it: they wait until this process owns it and has
// opened it.
type pendingIndex struct {
	cancel context.CancelFunc
	ending <-chan struct{}
	done   chan struct{} // closed when err and opened are final
	opened bool
	err    error
}

// openPending opens the index in the background as soon as role owns it, and calls failed
// if opening fails. When ending is closed, wait returns: a waiting session is at a command
// boundary and can end there.
func openPending(ctx context.Context, role *handover.Member, open func(context.Context) error, ending <-chan struct{}, failed func(error)) *pendingIndex {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &pendingIndex{cancel: cancel, ending: ending, done: make(chan struct{})}
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

// wait waits until the index is open. It returns an error if ctx ends or the index will not
// be opened.
func (l *pendingIndex) wait(ctx context.Context) error {
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

// stop cancels the opening and reports whether the index is open and must be closed.
func (l *pendingIndex) stop() (opened bool) {
	l.cancel()
	<-l.done
	return l.opened
}
