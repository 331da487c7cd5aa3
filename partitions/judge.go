package partitions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime/debug"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// What a command of a Session fails with is judged in one place, when it ends: is it the
// client's doing, or somebody else's work that will end, or is a backup or a partition
// unavailable? Of the last, the client hears cyrus.ErrUnavailable, and the log once.

// backupError is an error about one backup.
type backupError struct {
	b     *Backup
	class string // opening or working
	err   error
}

func (e *backupError) Error() string { return fmt.Sprintf("backup of %s: %v", e.b.name, e.err) }
func (e *backupError) Unwrap() error { return e.err }

// clientError is an error of what the client sent, or of the way to it.
type clientError struct{ err error }

func (e *clientError) Error() string { return e.err.Error() }
func (e *clientError) Unwrap() error { return e.err }

// errEmptied is a reason that has no sentinel elsewhere.
var errEmptied = fmt.Errorf("the partition was emptied: %w", cyrus.ErrLocked)

// enter begins a command; the function that it returns ends it, and judges its error.
func (x *Session) enter() func(err *error) {
	x.since.Store(0)
	x.opened, x.owes = x.opened[:0], repository.Name{}
	return func(err *error) {
		if p := recover(); p != nil {
			x.log.Error("panic", "panic", p, "stack", string(debug.Stack()))
			*err = fmt.Errorf("panic: %v", p)
			if x.last != nil {
				*err = x.set.errf(x.last, *err)
			}
			x.abandon()
		}
		*err = x.judge(*err)
		x.since.Store(x.set.opt.Now().UnixNano())
	}
}

// abandon gives up everything after a panic: what is known of the backups may be wrong.
func (x *Session) abandon() {
	for b := range x.held {
		b.unsure.Store(true)
		x.giveUp(b)
	}
	x.last = nil
	x.staging.drop()
}

// judge tells the troubles of a backup or a partition from all other errors.
func (x *Session) judge(err error) error {
	if err == nil {
		for _, b := range x.opened {
			x.set.troubles.ended(troubleScope{backup: b.path}, opening)
		}
		return nil
	}
	if x.past {
		return err // of a tool, which says it by itself
	}
	k, ok := x.trouble(err)
	if !ok {
		return err
	}
	x.set.troubles.met(k, err)
	x.owed()
	return fmt.Errorf("%w: %w", cyrus.ErrUnavailable, err)
}

// Classes of work on a backup: that it can be opened does not prove that it can be written.
const (
	opening = "open"
	working = "work"
)

// trouble says what is unavailable; false when nothing is.
func (x *Session) trouble(err error) (troubleKey, bool) {
	if ofClient(err) || errors.Is(err, context.Canceled) {
		return troubleKey{}, false
	}
	if at := (*storeError)(nil); errors.As(err, &at) {
		if kind := at.kind(); kind != "" {
			return troubleKey{troubleScope{partition: at.p.name}, kind, classOf(at.op)}, true
		}
	}
	k := troubleKey{scope: troubleScope{backup: "none"}, kind: backupTrouble(err), class: working}
	if of := (*backupError)(nil); errors.As(err, &of) {
		k.scope.backup, k.class = of.b.path, of.class
	} else if x.last != nil {
		k.scope.backup = x.last.path
	}
	return k, k.kind != ""
}

// metStore notes a trouble of a partition that background work has met; false when it
// is none.
func (s *Set) metStore(err error) bool {
	at := (*storeError)(nil)
	if !errors.As(err, &at) || at.kind() == "" || errors.Is(err, context.Canceled) {
		return false
	}
	s.troubles.met(troubleKey{troubleScope{partition: at.p.name}, at.kind(), classOf(at.op)}, err)
	return true
}

// ofClient says that the client understands the refusal.
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

// kind is why the partition cannot be used; "" when the error is not of the partition
// but of what one backup lacks in it.
func (e *storeError) kind() troubleKind {
	switch {
	case errors.Is(e.err, errEmptied):
		return troubleEmptied
	case errors.Is(e.err, errShared):
		return troubleShared
	case errors.Is(e.err, errCondition), errors.Is(e.err, errRanges), errors.Is(e.err, errLists):
		return troubleUnsupported
	case e.op == "" && errors.Is(e.err, history.ErrVersion):
		return troubleVersion
	case e.op == "" && history.IsDamage(e.err):
		return troubleDamage
	}
	return storeTrouble(e.err)
}

// storeTrouble is the kind of what a store has answered; "" for what is asked of it in
// the course of things.
func storeTrouble(err error) troubleKind {
	switch {
	case errors.Is(err, repository.ErrHeld):
		return ""
	case errors.Is(err, objstore.ErrDenied):
		return troubleDenied
	case errors.Is(err, objstore.ErrNoBucket):
		return troubleNoBucket
	case errors.Is(err, objstore.ErrNoSpace):
		return troubleNoSpace
	case unanswered(err):
		return troubleNoAnswer
	case errors.Is(err, objstore.ErrUnsupported):
		return troubleUnsupported
	}
	for _, e := range []error{objstore.ErrNotExist, objstore.ErrExist, objstore.ErrPrecondition, objstore.ErrRange, objstore.ErrKey} {
		if errors.Is(err, e) {
			return ""
		}
	}
	return troubleStore
}

// backupTrouble is why the backup cannot be used; "" when somebody else works on it.
func backupTrouble(err error) troubleKind {
	for _, t := range []struct {
		err  error
		kind troubleKind
	}{
		{repository.ErrHeld, troubleLocked}, {repository.ErrHalfMoved, troubleMoved}, {repository.ErrSealed, troubleSealed}, {repository.ErrForeign, troubleForeign}, {repository.ErrTwice, troubleTwice},
		{history.ErrVersion, troubleVersion}, {pack.ErrVersion, troubleVersion},
	} {
		if errors.Is(err, t.err) {
			return t.kind
		}
	}
	switch {
	case errors.Is(err, cyrus.ErrLocked):
		return ""
	case history.IsDamage(err):
		return troubleDamage
	}
	return troubleInternal
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
