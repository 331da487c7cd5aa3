package partitions

import (
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Of a quota or the removal of a mailbox that is refused, a rolling client keeps no note
// (client-behaviour.md 11). The backup owes them: once it can be used again, the next
// GET MAILBOXES is refused, which makes the client compare the whole user.

// owing notes what a command under way would leave undone if its backup is unavailable.
func (x *Session) owing(n repository.Name) { x.owes = n }

// owed notes that a command was refused. That a note cannot be kept is only logged.
func (x *Session) owed() {
	if x.owes != (repository.Name{}) {
		x.compareLater(x.owes)
	}
}

// compareLater notes that the client has to compare the whole user.
func (x *Session) compareLater(n repository.Name) {
	path := n.Path()
	err := x.set.index.Update(func(t *index.Txn) error { return t.Set(index.OwedKey(path), nil) })
	if err != nil {
		x.log.Warn("run sync_client -u for this user once the backup can be used: not all of it is known to be as at the source", "backup", path, "err", err)
	}
}

// owesCompare says that something of the backup was refused.
func (s *Set) owesCompare(n repository.Name) (bool, error) {
	err := s.index.View(func(t *index.Txn) error {
		_, err := t.Get(index.OwedKey(n.Path()))
		return err
	})
	if errors.Is(err, index.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// settled notes that the client is comparing the whole user.
func (x *Session) settled(n repository.Name) error {
	if owes, err := x.set.owesCompare(n); !owes || err != nil {
		return err
	}
	return x.set.index.Update(func(t *index.Txn) error { return t.Delete(index.OwedKey(n.Path())) })
}

// askUser is an error that makes the client compare the whole user, where that is owed.
// It is given once: a client that does not ask on is not refused again. Shared mailboxes
// have no user: a client that is refused them spins.
func (x *Session) askUser(n repository.Name) error {
	if n.Kind != repository.KindUser {
		return nil
	}
	owes, err := x.set.owesCompare(n)
	if owes {
		err = x.settled(n)
	}
	if !owes || err != nil {
		return err
	}
	return fmt.Errorf("%s has to be compared, because something of it was refused before or its INBOX was replaced: %w", n, cyrus.ErrAskUser)
}
