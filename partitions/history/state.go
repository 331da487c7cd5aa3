package history

import (
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// State is the state of one backup. Replayer applies events to it. Getters return nil for
// a missing item. Returned values are read-only: change a copy and put the copy.
// Values passed to Put methods belong to the State. Callers may change the State while
// they range over one of its sequences. An item that exists from start to end is yielded
// once, in its old or its new form; an item added or dropped meanwhile may be missing.
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
	// The rest is for prune. Dropping a missing item is not an error.
	DropMailbox(uniqueid string) error // with its records
	DropRecord(uniqueid string, uid uint32) error
	DropItem(k ItemKey) error
	KeepMessages(keep func(*MessageState) bool) error // drops all others
	PutNextSeq(n uint64) error                        // order of creation of mailboxes
	NextSeq() (uint64, error)
}

// MailboxState is a mailbox as of a commit.
type MailboxState struct {
	Seq      uint64       `json:"seq"` // order of creation in this backup
	UniqueID string       `json:"uniqueid"`
	Name     string       `json:"name"`
	Fields   []dlist.Pair `json:"fields"` // as last sent; MBOXNAME, PARTITION, UIDVALIDITY follow renames
	Commit   uint64       `json:"commit"` // the last commit that changed it
	// Replayer maintains these totals of the records.
	Records int       `json:"records"` // all, including expunged ones
	Live    int       `json:"live"`
	TopUID  uint32    `json:"top_uid"` // highest uid ever used: there is no record to look up above it
	CRC     cyrus.CRC `json:"crc"`     // recomputed over the live records
	// Deleted is when the mailbox was deleted, or moved to another backup; zero = live.
	Deleted time.Time `json:"deleted,omitzero"`
	MovedTo string    `json:"moved_to,omitempty"` // backup that adopted it
	Resync  string    `json:"resync,omitempty"`   // reason of the resync; "" = not in resync
}

// RecordState is a record as of a commit.
type RecordState struct {
	cyrus.Record
	Commit   uint64 // the last commit that wrote it
	Expunged int64  // store time, in epoch seconds, when it was first seen expunged; 0 = live
	Gone     bool   // expunged because it was missing from a complete set, not by its own flag
}

// MessageState is a message that this backup holds.
type MessageState struct {
	Message
	Commit uint64 // the commit that made it known
	Inline bool   // set by an index when a commit's object contains the body; Replayer leaves it false
	// Erased is when the body was erased, which is missing since; zero = it was not. An index does not keep it.
	Erased time.Time
}

// ItemKey identifies an item of the state other than a mailbox, record or message.
type ItemKey struct {
	Kind string // sub, seen, sieve, sieve-active, quota, annotation
	A    string // user; quota: root; annotation: mailbox name
	B    string // sub: mailbox name; seen: uniqueid; sieve: filename; annotation: entry
	C    string // annotation: userid
}

// ItemState is the last event of an item. Key.Kind determines the type of Event:
// *SubEvent, *SeenEvent, …
type ItemState struct {
	Key     ItemKey
	Event   Event
	Commit  uint64
	Deleted time.Time // zero = live
}
