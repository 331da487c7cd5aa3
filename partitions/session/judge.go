package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime/debug"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// clientError is an error of what the client sent, or of the way to it.
type clientError struct{ err error }

func (e *clientError) Error() string { return e.err.Error() }
func (e *clientError) Unwrap() error { return e.err }

// enter begins a command; the function that it returns ends it, and judges its error.
func (x *Session) enter() func(err *error) {
	x.since.Store(0)
	x.opened, x.owes = x.opened[:0], repository.Name{}
	return func(err *error) {
		if p := recover(); p != nil {
			x.log.Error("panic", "panic", p, "stack", string(debug.Stack()))
			*err = fmt.Errorf("panic: %v", p)
			if x.last != nil {
				*err = x.last.Failed(*err)
			}
			x.abandon()
		}
		*err = x.judge(*err)
		x.since.Store(x.clock().UnixNano())
	}
}

// abandon gives up everything after a panic: the state of the backups may be wrong.
func (x *Session) abandon() {
	for b := range x.held {
		b.Invalidate()
		x.giveUp(b)
	}
	x.last = nil
	x.stage.Drop()
}

// judge separates trouble with a backup or a partition from all other errors.
func (x *Session) judge(err error) error {
	if err == nil {
		for _, b := range x.opened {
			x.set.Opened(b)
		}
		return nil
	}
	if x.importing || ofClient(err) || errors.Is(err, context.Canceled) {
		return err // an importing tool reports it by itself
	}
	unavailable, ok := x.set.Unavailable(err, x.last)
	if !ok {
		return err
	}
	x.owed()
	return unavailable
}

// ofClient reports that the client understands the refusal.
func ofClient(err error) bool {
	if sent := (*clientError)(nil); errors.As(err, &sent) {
		return true
	}
	for _, e := range []error{cyrus.ErrAskUser, cyrus.ErrNonexistent, cyrus.ErrMoved, cyrus.ErrSyncChanged, cyrus.ErrBadParameters, cyrus.ErrProtocol, dlist.ErrField} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// fromClient marks the errors of a body as the client's.
type fromClient struct{ r io.Reader }

func (c fromClient) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &clientError{err}
	}
	return n, err
}

// recordsFromClient marks the errors of records as the client's.
func recordsFromClient(records iter.Seq2[*cyrus.Record, error]) iter.Seq2[*cyrus.Record, error] {
	return func(yield func(*cyrus.Record, error) bool) {
		for r, err := range records {
			if err != nil {
				err = &clientError{err}
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// toClient marks the errors of an answer as the client's.
func toClient(out emit) emit {
	return func(key string, v dlist.Value) error {
		if err := out(key, v); err != nil {
			return &clientError{err}
		}
		return nil
	}
}
