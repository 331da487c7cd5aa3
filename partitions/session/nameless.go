package session

import (
	"slices"

	"github.com/cyrusbackup/backupd/partitions"
)

const (
	// namelessMost is how many bytes a session holds for backups that do not exist.
	namelessMost = 512 << 10
	// handleSize is about what a held backup takes beside its name.
	handleSize = 1250
)

// heldSize is about what the session and the Set have in memory for a held backup (TestMemoryOfHeldNames).
func heldSize(b *partitions.Backup) int {
	n := len(b.Name().Full)
	return handleSize + n + n/4
}

// leaveNameless gives up backups that do not exist if the session holds many: a client may ask for any number
// of names in one unit of work. Another connection can then create such a backup. The client notices that when
// it has sent its state and the checksums differ. The backup that was opened last stays, because the next messages
// are for it, and so do those that were there when something was reported to the client.
func (x *Session) leaveNameless() {
	if x.heldBytes-x.lastingBytes < namelessMost {
		return
	}
	for b, h := range x.held {
		if b != x.last && !b.Lasts() && !h.used() {
			x.release(b)
			x.heldMore = true
		}
	}
	x.opened = slices.DeleteFunc(x.opened, func(b *partitions.Backup) bool { return x.held[b] == nil })
	x.lastingBytes = x.heldBytes
}

// used reports whether the client and the session have exchanged any state of the backup.
func (h *heldBackup) used() bool {
	return h.compared || len(h.reported)+len(h.asked)+len(h.sent)+len(h.closed) > 0
}

// alone reports whether the client works on at most one backup.
func (x *Session) alone() bool { return len(x.held) <= 1 && !x.heldMore }
