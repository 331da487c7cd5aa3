package history

import (
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// State is what Fold applies events to, for one backup. Get methods return nil for
// an absent item. Values that it returns are read-only: change a copy and put that.
// Values handed to Put belong to the State. It may be changed while one of its
// sequences is ranged over: what was there at the start and still is, is yielded
// once, as it was or as it is; what was added or dropped meanwhile may be or not.
type State interface {
	Mailbox(uniqueid string) (*MailboxState, error)
	MailboxByName(name string) (*MailboxState, error) // live ones only
	Mailboxes() iter.Seq2[*MailboxState, error]       // live and deleted, in order of creation (Seq)
	PutMailbox(m *MailboxState) error
	Record(uniqueid string, uid uint32) (*RecordState, error)
	Records(uniqueid string, from uint32) iter.Seq2[*RecordState, error] // ascending, from this uid on
	PutRecord(uniqueid string, r *RecordState) error
	Message(g cyrus.GUID) (*MessageState, error)
	PutMessage(m *MessageState) error
	Item(k ItemKey) (*ItemState, error)
	Items(kind string) iter.Seq2[*ItemState, error]
	PutItem(i *ItemState) error
	// What prune needs. Dropping what is absent is no error.
	DropMailbox(uniqueid string) error // with its records
	DropRecord(uniqueid string, uid uint32) error
	DropItem(k ItemKey) error
	KeepMessages(keep func(*MessageState) bool) error // drops the others
	PutNextSeq(n uint64) error                        // order of creation of mailboxes
	NextSeq() (uint64, error)
}

// MailboxState is a mailbox as of a commit.
type MailboxState struct {
	Seq      uint64       `json:"seq"` // order of creation in this backup
	UniqueID string       `json:"uniqueid"`
	Name     string       `json:"name"`
	Fields   []dlist.Pair `json:"fields"` // as last sent; MBOXNAME, PARTITION, UIDVALIDITY follow renames
	Commit   uint64       `json:"commit"` // that last changed it
	// What Fold keeps count of over the records.
	Records int       `json:"records"` // all, expunged ones included
	Live    int       `json:"live"`
	TopUID  uint32    `json:"top_uid"` // highest uid that ever was in it: above it no record need be looked up
	CRC     cyrus.CRC `json:"crc"`     // recomputed over the live records
	// Deleted is when it was deleted or moved away here; zero = it lives.
	Deleted time.Time `json:"deleted,omitzero"`
	MovedTo string    `json:"moved_to,omitempty"` // backup that adopted it
	Resync  string    `json:"resync,omitempty"`   // why it is in resync; "" = it is not
}

// RecordState is a record as of a commit.
type RecordState struct {
	cyrus.Record
	Commit   uint64 // that wrote it last
	Expunged int64  // store time, in epoch seconds, when it was first seen expunged; 0 = live
	Gone     bool   // expunged because a complete set lacked it, not by its own flag
}

// MessageState is a message that this backup holds.
type MessageState struct {
	Message
	Commit uint64 // that made it known
	Inline bool   // an index's note that its body lies in a commit's object; Fold leaves it false
}

// ItemKey names an item that is neither mailbox, record nor message.
type ItemKey struct {
	Kind string // sub, seen, sieve, sieve-active, quota, annotation
	A    string // user; quota: root; annotation: mailbox name
	B    string // sub: mailbox name; seen: uniqueid; sieve: filename; annotation: entry
	C    string // annotation: userid
}

// ItemState is the last event of an item. Event is a *SubEvent, *SeenEvent, … as its Kind says.
type ItemState struct {
	Key     ItemKey
	Event   Event
	Commit  uint64
	Deleted time.Time // zero = it lives
}
