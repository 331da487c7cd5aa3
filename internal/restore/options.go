package restore

import (
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// Deleted says which messages and mailboxes are chosen that had been deleted.
type Deleted int

// What had been deleted and is still kept comes back as if it had never been.
const (
	// ByObject: messages asked for by GUID and mailboxes asked for by name bring what
	// was expunged too, everything else does not.
	ByObject Deleted = iota
	Without          // never (-X)
	Only             // nothing else (-x)
)

// Options of a Selection.
type Options struct {
	All       bool     // every mailbox
	Objects   []string // names, uniqueids, GUIDs
	Recursive bool     // and what is below the mailboxes named
	Deleted   Deleted
	// LiveOnly: a mailbox named brings what lived in it at the moment, and no expunged
	// messages. For -U, and when a moment was asked for.
	LiveOnly bool
	// AtEnd: what was deleted with the account, at the end of a life, counts as there.
	AtEnd             bool
	NextLife          time.Time // with AtEnd: when the backup heard of the next life; zero = there is none
	KeepDeletedPrefix bool      // -D
	Into              string    // -M: everything into this mailbox; "" = each into its own
	Moves             []Move    // --map, USER:OTHER
	// Delivered or deleted between the two, with Deleted: Only deleted; zero = no bound.
	Since, Until time.Time
	// NotBefore leaves live messages that were delivered before it for another run. The
	// mailboxes come, with or without messages.
	NotBefore     time.Time
	DeletedPrefix string
	AdminForm     cyrus.AdminForm // of names on the command line
}

// Move gives a mailbox, and all below it, another name at the destination.
type Move struct{ Old, New string } // internal names

// windowed says that a window of time was asked for.
func (o *Options) windowed() bool { return !o.Since.IsZero() || !o.Until.IsZero() }

// within says that a time, in seconds since the epoch, is in the window.
func (o *Options) within(sec int64) bool {
	t := time.Unix(sec, 0)
	return (o.Since.IsZero() || !t.Before(o.Since)) && (o.Until.IsZero() || t.Before(o.Until))
}

// wants says whether a message is chosen. byGUID: it was asked for by itself.
// named: its mailbox was. gone: when its mailbox was deleted, 0 = it lives.
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
	if deleted { // what was expunged before its mailbox went did not go with it
		gone = m.Expunged
	}
	return gone != 0 && o.within(gone) || o.Deleted != Only && o.within(m.InternalDate)
}
