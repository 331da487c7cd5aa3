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

// clientError is an error in the client's data or in the connection to the client.
type clientError struct{ err error }

func (e *clientError) Error() string { return e.err.Error() }
func (e *clientError) Unwrap() error { return e.err }

// enter begins a command. The returned function ends the command and classifies its error.
func (x *Session) enter() func(err *error) {
	x.begin()
	return x.end
}

func (x *Session) begin() {
	x.since.Store(0)
	x.opened, x.owes, x.trying = x.opened[:0], repository.Name{}, nil
	x.leaveOutside()
	x.leaveNameless()
}

// end is deferred by each command that has called begin.
func (x *Session) end(err *error) {
	if p := recover(); p != nil {
		x.log.Error("panic", "panic", p, "stack", string(debug.Stack()))
		*err = fmt.Errorf("panic: %v", p)
		if x.last != nil {
			*err = x.last.Failed(*err)
		}
		x.abandon()
	}
	x.noteContact(*err)
	*err = x.judge(*err)
	x.since.Store(x.clock().UnixNano())
}

// abandon drops everything after a panic, because the state of the backups may be wrong.
func (x *Session) abandon() {
	for b := range x.held {
		b.Invalidate()
		x.giveUp(b)
	}
	x.last = nil
	x.stage.Drop()
}

// judge distinguishes trouble with a backup or a partition from all other errors.
func (x *Session) judge(err error) error {
	if err == nil {
		for _, b := range x.opened {
			x.set.Opened(b)
		}
		return nil
	}
	if x.importing || ofClient(err) || errors.Is(err, errLimited) || errors.Is(err, context.Canceled) {
		return err // an import tool reports its errors itself
	}
	unavailable, ok := x.set.Unavailable(err, x.last)
	if !ok {
		return err
	}
	x.owed()
	return unavailable
}

// ofClient reports whether the client understands the error.
func ofClient(err error) bool {
	if sent := (*clientError)(nil); errors.As(err, &sent) {
		return true
	}
	for _, e := range []error{cyrus.ErrOutside, cyrus.ErrAskUser, cyrus.ErrNonexistent, cyrus.ErrMoved, cyrus.ErrSyncChanged, cyrus.ErrBadParameters, cyrus.ErrProtocol, dlist.ErrField} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// fromClient marks the errors of reading a body as the client's.
type fromClient struct{ r io.Reader }

func (c *fromClient) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &clientError{err}
	}
	return n, err
}

// recordsFromClient marks the errors of reading records as the client's.
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

// toClient marks the errors of writing an answer as the client's.
func toClient(out emit) emit {
	return func(key string, v dlist.Value) error {
		if err := out(key, v); err != nil {
			return &clientError{err}
		}
		return nil
	}
}
