package session

import (
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// A rolling client does not remember a quota or the removal of a mailbox that we refused
// (client-behaviour.md 11). The backup owes them: once it can be used again, we refuse the
// next GET MAILBOXES, which makes the client compare the whole user.

// owing names the backup that misses a change if the running command is refused.
func (x *Session) owing(n repository.Name) { x.owes = n }

// owed records that a command was refused. If the note cannot be stored, this is only logged.
func (x *Session) owed() {
	if x.owes != (repository.Name{}) {
		x.compareLater(x.owes)
	}
}

// compareLater records that the client has to compare the whole user.
func (x *Session) compareLater(n repository.Name) {
	if err := x.set.Owe(n, x.who.Client); err != nil {
		x.log.Warn("run sync_client -u for this user once the backup can be used: not all of it is known to be as at the source", "backup", n.Path(), "err", err)
	}
}

// askUser returns an error that makes the client compare the whole user, if the backup owes a
// comparison. It returns the error only once, so a client that does not follow up is not
// refused again. Shared mailboxes have no user, and a client that is refused them retries
// forever.
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
