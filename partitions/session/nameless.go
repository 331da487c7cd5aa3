package session

import (
	"slices"

	"github.com/cyrusbackup/backupd/partitions"
)

// heldMost is how many backups a session holds before it gives up those that do not exist.
const heldMost = 2048

// leaveNameless gives up backups that do not exist if the session holds many: a client may ask for any number
// of names in one unit of work. Nothing was reported to it about them. The backup that was opened last stays,
// because the next messages are for it.
func (x *Session) leaveNameless() {
	if len(x.held) < max(heldMost, x.heldNext) {
		return
	}
	for b := range x.held {
		if b != x.last && !b.Lasts() {
			x.giveUp(b)
			x.heldMore = true
		}
	}
	x.opened = slices.DeleteFunc(x.opened, func(b *partitions.Backup) bool { return x.held[b] == nil })
	x.heldNext = 2 * len(x.held)
}

// alone reports whether the client works on at most one backup.
func (x *Session) alone() bool { return len(x.held) <= 1 && !x.heldMore }
