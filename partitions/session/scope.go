package session

import (
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Scope is what the login of a session may touch. It can change while the session exists.
//
// A session whose scope is not everything refers only to messages that a backup in use has, that the
// former backup of a mailbox has, or that the login has sent.
type Scope struct {
	May func(repository.Name) bool
	All func() bool // May is true for every backup
	// Refused is called for each command on a backup outside the scope, for the log.
	Refused func(repository.Name)
	// Useless records that the client has sent a mailbox of a backup outside the scope, with its
	// messages. WasUseless reports whether it did so a short time ago.
	Useless    func(n repository.Name, mailbox string)
	WasUseless func(n repository.Name, mailbox string) bool
}

// errLimited ends a session that began without a fence, and whose login may no longer touch everything.
var errLimited = fmt.Errorf("the scope of this login was limited: %w", cyrus.ErrClose)

// may reports whether the login may touch a backup.
func (x *Session) may(n repository.Name) bool { return x.scope == nil || x.scope.May(n) }

// leavesScope reports whether a mailbox moves from a backup in the scope to one outside. It ends where it
// was, with its history: the client of 3.12 sends renames before everything else of a user, and would never
// send anything more of him if this one was refused. Nothing is recorded about the other backup.
func (x *Session) leavesScope(from, to repository.Name) bool {
	if !x.fenced || !x.may(from) || x.may(to) {
		return false
	}
	x.scope.Refused(to)
	return true
}

// limited returns an error that ends a session without a fence if its login may no longer touch
// everything. The client connects again, and gets a session with a fence. Every command that does
// something without opening a backup calls it.
func (x *Session) limited() error {
	if x.scope == nil || x.fenced || x.scope.All() {
		return nil
	}
	return errLimited
}

// allow returns cyrus.ErrOutside for a backup outside the scope. Nothing is recorded about the backup: a
// login must not be able to make somebody else's backup look bad.
func (x *Session) allow(n repository.Name) error {
	if err := x.limited(); err != nil || !x.fenced || x.scope.May(n) {
		return err
	}
	x.scope.Refused(n)
	return fmt.Errorf("%s: %w", n, cyrus.ErrOutside)
}

// within returns the mailboxes whose backups are in the scope. If none is, it returns all of them, so
// that the command is refused: the client of 3.12 adds the former names of each mailbox, and has to be
// answered about the others (client-behaviour.md 10).
//
// If only former names are in the scope, and none exists, the client sends the mailbox with all its
// messages, although we refuse it at the end. So that it does not do this at each attempt, useless
// names a backup that it has sent before; the zero value = none.
func (x *Session) within(names []string) (in []string, useless repository.Name) {
	if !x.fenced {
		return names, repository.Name{}
	}
	for _, name := range names {
		n := x.set.NameOf(name)
		switch {
		case x.may(n):
			in = append(in, name)
		case x.scope.WasUseless(n, name):
			useless = n
		}
	}
	if len(in) == 0 {
		return names, repository.Name{}
	}
	return in, useless
}

// noteUseless records that a mailbox was refused because its backup is outside the scope.
func (x *Session) noteUseless(n repository.Name, mailbox string, err error) {
	if errors.Is(err, cyrus.ErrOutside) {
		x.scope.Useless(n, mailbox)
	}
}

// leaveOutside gives up the backups that are outside the scope meanwhile, so that another client can
// use them.
func (x *Session) leaveOutside() {
	if !x.fenced {
		return
	}
	for b, h := range x.held {
		if !x.may(b.Name()) {
			h.refused = true // not all of the work on it was done
			x.giveUp(b)
		}
	}
	if x.last != nil && !x.may(x.last.Name()) {
		x.last = nil
	}
}
