package session

import (
	"fmt"

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
	if err := x.set.Owe(n); err != nil {
		x.log.Warn("run sync_client -u for this user once the backup can be used: not all of it is known to be as at the source", "backup", n.Path(), "err", err)
	}
}

// askUser is an error that makes the client compare the whole user, where that is owed.
// It is given once: a client that does not ask on is not refused again. Shared mailboxes
// have no user: a client that is refused them spins.
func (x *Session) askUser(n repository.Name) error {
	if n.Kind != repository.KindUser {
		return nil
	}
	owes, err := x.set.Owes(n)
	if owes {
		err = x.set.Settle(n)
	}
	if !owes || err != nil {
		return err
	}
	return fmt.Errorf("%s has to be compared, because something of it was refused before or its INBOX was replaced: %w", n, cyrus.ErrAskUser)
}
