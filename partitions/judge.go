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

// The error of a Session's command is classified in one place, when the command ends. The
// client caused it, or somebody else's work caused it and will end, or a backup or a
// partition is unavailable. In the last case the client gets cyrus.ErrUnavailable, and the
// trouble is logged once.

// backupError is an error about one backup.
type backupError struct {
	b     *Backup
	class string // opening or working
	err   error
}

func (e *backupError) Error() string { return fmt.Sprintf("backup of %s: %v", e.b.name, e.err) }
func (e *backupError) Unwrap() error { return e.err }

// errEmptied means that the repository of a partition has disappeared.
var errEmptied = fmt.Errorf("the partition was emptied: %w", cyrus.ErrLocked)

// Classes of work on a backup. A backup that can be opened is not necessarily writable.
const (
	opening = "open"
	working = "work"
)

// Failed marks err as an error of the work on the backup. It returns nil if err is nil.
func (b *Backup) Failed(err error) error {
	if err == nil {
		return nil
	}
	return &backupError{b: b, class: working, err: err}
}

// NotOpened marks err as the reason why the backup cannot be used at all.
func (b *Backup) NotOpened(err error) error { return &backupError{b: b, class: opening, err: err} }

// Opened records that a backup could be opened, which ends its trouble of that class.
func (s *Set) Opened(b *Backup) { s.troubles.ended(troubleScope{backup: b.path}, opening) }

// Unavailable decides whether err, the error of a failed command, means that a backup or a
// partition is unavailable. If so, it logs the trouble once and returns a
// cyrus.ErrUnavailable. Otherwise it returns false. last is the backup that err is about if
// err does not name a backup.
func (s *Set) Unavailable(err error, last *Backup) (error, bool) {
	k := trouble(err, last)
	if k.kind == "" {
		return nil, false
	}
	s.troubles.met(k, err)
	return fmt.Errorf("%w: %w", cyrus.ErrUnavailable, err), true
}

// trouble returns the key of the trouble that err reports. Its kind is "" if nothing is
// unavailable.
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

// metStore records a trouble of a partition found by background work. It returns false if
// err is not such a trouble.
func (s *Set) metStore(err error) bool {
	at := (*storeError)(nil)
	if !errors.As(err, &at) || at.kind() == "" || errors.Is(err, context.Canceled) {
		return false
	}
	s.troubles.met(troubleKey{troubleScope{partition: at.p.name}, at.kind(), classOf(at.op)}, err)
	return true
}

// kind returns why the partition cannot be used. It returns "" if the error concerns only the
// objects of one backup.
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

// storeTrouble returns the kind of a store's error; "" for an error that is part of normal
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

// backupTrouble returns why the backup cannot be used; "" if somebody else works on it.
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
