package restore

import (
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// Deleted selects which deleted messages and mailboxes are chosen.
type Deleted int

// Deleted messages and mailboxes that are still kept are restored as if they were live.
const (
	// ByObject includes expunged messages for messages chosen by GUID and mailboxes chosen
	// by name, and only live ones for everything else.
	ByObject Deleted = iota
	Without          // never (-X)
	Only             // nothing else (-x)
)

// Options of a Selection.
type Options struct {
	All       bool     // every mailbox
	Objects   []string // names, uniqueids, GUIDs
	Recursive bool     // and all mailboxes below the named ones
	Deleted   Deleted
	// LiveOnly leaves out expunged messages of named mailboxes, and restores only what was
	// live at the moment. Used for -U and if a moment was given.
	LiveOnly bool
	// AtEnd treats everything that was deleted with the account, at the end of a life, as live.
	AtEnd             bool
	NextLife          time.Time // with AtEnd: when the next life appeared in the backup; zero = no next life
	KeepDeletedPrefix bool      // -D
	Into              string    // -M: the mailbox for everything; "" = each into its own
	Moves             []Move    // --map, USER:OTHER
	// Delivered within this window, or deleted within it if Deleted is Only; zero = no bound.
	Since, Until time.Time
	// NotBefore leaves out live messages that were delivered earlier; another run restores
	// them. Mailboxes are restored even if they are empty.
	NotBefore     time.Time
	DeletedPrefix string
	AdminForm     cyrus.AdminForm // of names on the command line
}

// Move renames a mailbox, and all mailboxes below it, at the destination.
type Move struct{ Old, New string } // internal names

// windowed reports whether a time window was given.
func (o *Options) windowed() bool { return !o.Since.IsZero() || !o.Until.IsZero() }

// within reports whether a time, in seconds since the epoch, is in the window.
func (o *Options) within(sec int64) bool {
	t := time.Unix(sec, 0)
	return (o.Since.IsZero() || !t.Before(o.Since)) && (o.Until.IsZero() || t.Before(o.Until))
}

// wants reports whether a message is chosen. byGUID: the message was asked for by GUID.
// named: its mailbox was asked for. gone: when its mailbox was deleted, 0 = live.
func (o *Options) wants(m *Message, byGUID, named bool, gone int64) bool {
	deleted := m.Deleted
	if !o.NotBefore.IsZero() && m.InternalDate < o.NotBefore.Unix() {
		return false
	}
	switch o.Deleted {
	case Without:
		if deleted {
			return false
		}
	case Only:
		if !deleted && gone == 0 {
			return false
		}
	default:
		if deleted && !byGUID && !o.windowed() && (o.LiveOnly || !named) {
			return false
		}
	}
	if byGUID || !o.windowed() {
		return true
	}
	if deleted { // a message that was expunged earlier was not deleted with its mailbox
		gone = m.Expunged
	}
	return gone != 0 && o.within(gone) || o.Deleted != Only && o.within(m.InternalDate)
}
