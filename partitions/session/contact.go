package session

import (
	"context"
	"errors"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions"
)

// noteContact records that the client has sent a command, and whether it was refused. A client with
// another view of the state, or with invalid data, is in contact, too.
func (x *Session) noteContact(err error) {
	if !x.isServer() {
		return
	}
	if errors.Is(err, cyrus.ErrOutside) {
		x.set.Refused(x.who.Client, nil, err) // not about the backup, which may be another's
		return
	}
	if err == nil || ofClient(err) || errors.Is(err, errLimited) || errors.Is(err, context.Canceled) {
		x.set.Contact(x.who.Client)
		return
	}
	b := x.trying
	if b == nil {
		b = x.last
	}
	if h := x.held[b]; h != nil {
		h.refused = true
	}
	x.set.Refused(x.who.Client, b, err)
}

// reached records that the client has finished a unit of work on a backup.
func (x *Session) reached(b *partitions.Backup) {
	if h := x.held[b]; h != nil && !h.refused && x.isServer() {
		x.set.Reached(x.who.Client, b)
	}
}

// isServer reports whether the client is a mail server, and not a tool.
func (x *Session) isServer() bool { return !x.importing && x.who.Client != "" }
