package session

import (
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Scope is what the login of a session may touch. It can change while the session exists.
//
// A session whose scope is not everything refers only to messages that the backup has, that the
// former backup of a mailbox has, or that the login has sent.
type Scope struct {
	May func(repository.Name) bool
	All func() bool // May is true for every backup
	// Refused is called for each command on a backup outside the scope, for the log.
	Refused func(repository.Name)
}

// errLimited ends a session that began without a fence, and whose login may no longer touch everything.
var errLimited = fmt.Errorf("the scope of this login was limited: %w", cyrus.ErrClose)

// may reports whether the login may touch a backup.
func (x *Session) may(n repository.Name) bool { return x.scope == nil || x.scope.May(n) }

// allow returns cyrus.ErrOutside for a backup outside the scope. Nothing is recorded about the backup: a
// login must not be able to make somebody else's backup look bad.
//
// A session that began without a fence ends when its scope becomes smaller. The client connects again.
func (x *Session) allow(n repository.Name) error {
	if x.scope == nil {
		return nil
	}
	if !x.fenced && !x.scope.All() {
		return errLimited
	}
	if x.scope.May(n) {
		return nil
	}
	x.scope.Refused(n)
	return fmt.Errorf("%s: %w", n, cyrus.ErrOutside)
}

// within returns the mailboxes whose backups are in the scope. If none is, it returns all of them, so
// that the command is refused: the client of 3.12 adds the former names of each mailbox, and has to be
// answered about the others (client-behaviour.md 10).
func (x *Session) within(names []string) []string {
	var out []string
	for _, name := range names {
		if x.may(x.set.NameOf(name)) {
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return names
	}
	return out
}

// lastWithin returns the backup that was opened last, unless it is outside the scope meanwhile.
func (x *Session) lastWithin() *partitions.Backup {
	if x.last != nil && !x.may(x.last.Name()) {
		return nil
	}
	return x.last
}
