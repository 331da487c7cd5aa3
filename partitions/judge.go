package partitions

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
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

// errEmptied is a reason that has no sentinel elsewhere.
var errEmptied = fmt.Errorf("the partition was emptied: %w", cyrus.ErrLocked)

// Classes of work on a backup: that it can be opened does not prove that it can be written.
const (
	opening = "open"
	working = "work"
)

// Failed marks err as one of the work on the backup; nil stays nil.
func (b *Backup) Failed(err error) error {
	if err == nil {
		return nil
	}
	return &backupError{b: b, class: working, err: err}
}

// NotOpened marks err as the reason why the backup cannot be used at all.
func (b *Backup) NotOpened(err error) error { return &backupError{b: b, class: opening, err: err} }

// Opened notes that a backup could be opened: its trouble of that kind has ended.
func (s *Set) Opened(b *Backup) { s.troubles.ended(troubleScope{backup: b.path}, opening) }

// Unavailable decides whether err, with which a command failed, means that a backup or a
// partition is unavailable. It then logs the trouble once and returns a
// cyrus.ErrUnavailable; false otherwise. last is the backup that the error is about if it
// does not name one.
func (s *Set) Unavailable(err error, last *Backup) (error, bool) {
	k := trouble(err, last)
	if k.kind == "" {
		return nil, false
	}
	s.troubles.met(k, err)
	return fmt.Errorf("%w: %w", cyrus.ErrUnavailable, err), true
}

// trouble describes what is unavailable; its kind is "" if nothing is.
func trouble(err error, last *Backup) troubleKey {
	if at := (*storeError)(nil); errors.As(err, &at) {
		if kind := at.kind(); kind != "" {
			return troubleKey{troubleScope{partition: at.p.name}, kind, classOf(at.op)}
		}
	}
	k := troubleKey{scope: troubleScope{backup: "none"}, kind: backupTrouble(err), class: working}
	if of := (*backupError)(nil); errors.As(err, &of) {
		k.scope.backup, k.class = of.b.path, of.class
	} else if last != nil {
		k.scope.backup = last.path
	}
	return k
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

// storeTrouble is the kind of a store's answer; "" for answers that are part of normal
// operation.
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
