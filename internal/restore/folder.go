package restore

import (
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Ref names a record of the backup.
type Ref struct {
	UniqueID string
	UID      uint32
}

// Folder is a mailbox as it is to be at the destination.
type Folder struct {
	Name string // internal name there
	// From is the mailbox that it comes from: the first, where several become one.
	From     *history.MailboxState
	Merged   bool  // several mailboxes become one: uids cannot be kept
	Messages []Ref // in the order of their mailboxes, ascending by uid
	Bytes    int64
}
