package restore

import (
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Ref identifies a record of a Source. It is small, because a selection has one for each message.
type Ref struct {
	box uint32 // index into Source.boxes
	UID uint32
}

// Folder is a mailbox to restore.
type Folder struct {
	Name string // internal name at the destination
	// From is the mailbox that it comes from: the first one if several are merged.
	From     *history.MailboxState
	Merged   bool  // several mailboxes become one, so uids cannot be kept
	Messages []Ref // mailbox by mailbox, each ascending by uid
	Bytes    int64
}
