package history

import (
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// Version is the format of commits and checkpoints that this package writes.
const Version = 1

// versionLoss is the format of a commit with an event that records a loss (BridgedEvent,
// LostEvent). Other commits keep version 1, so that older readers can still read them.
const versionLoss = 2

// versionErased is the format of a commit with an ErasedEvent, and of every checkpoint after it: messages in it may
// have MessageState.Erased.
const versionErased = 3

// Header is the first line of commit.ndjson.
type Header struct {
	Version    int       `json:"version"`
	Backup     string    `json:"backup"`     // path below backups/, as user/anne
	Number     uint64    `json:"number"`     // 1, 2, 3, … without gaps
	Prev       string    `json:"prev"`       // hex SHA-256 of the previous commit.ndjson, uncompressed; "" for number 1
	Time       time.Time `json:"time"`       // store time, never before the previous commit's
	Host       string    `json:"host"`       // the writer
	Clock      time.Time `json:"clock"`      // the clock of that host
	Connection string    `json:"connection"` // the connection on that host
	Client     string    `json:"client"`     // the peer: address and authenticated user
	Random     string    `json:"random"`     // 16 random bytes, hex: distinguishes our own commit from another writer's
}

// Event is a line of commit.ndjson after the header: {"event":"<Kind>", …}. The set is
// closed: an unknown kind in a known version is an error.
type Event interface {
	Kind() string
}

// The events. Each one upserts or removes items of the state. Replayer defines what they
// mean together.
type (
	// MailboxEvent replaces the head of a mailbox, with all fields the client sent.
	MailboxEvent struct {
		UniqueID string       `json:"uniqueid"`
		Name     string       `json:"name"`
		Fields   []dlist.Pair `json:"fields"` // without RECORD and SINCE_*; JSON: array of [key, value]
	}
	// RecordsEvent upserts records of a mailbox, ascending by uid, at most 512 per line.
	RecordsEvent struct {
		UniqueID string          `json:"uniqueid"`
		Records  []*cyrus.Record `json:"records"`
	}
	// RecordBlocksEvent is a RecordsEvent for more records than fit in a commit. They
	// are stored in record block objects, which are put before the commit.
	RecordBlocksEvent struct {
		UniqueID string     `json:"uniqueid"`
		Blocks   []BlockRef `json:"blocks"`
	}
	// CompleteEvent ends a complete set: the source no longer has the records of the
	// mailbox that this commit did not write. They are expunged as of this commit.
	CompleteEvent struct {
		UniqueID string `json:"uniqueid"`
	}
	// ExpungeEvent marks records \Expunged without a new modseq (APPLY EXPUNGE).
	ExpungeEvent struct {
		UniqueID string   `json:"uniqueid"`
		UIDs     []uint32 `json:"uids"`
	}
	// MessagesEvent makes messages known to this backup, before records name them; at most 512 per line.
	MessagesEvent struct {
		Messages []Message `json:"messages"`
	}
	// RenameEvent changes the name of a mailbox, and its partition and UIDVALIDITY if set.
	RenameEvent struct {
		UniqueID    string `json:"uniqueid"`
		Old         string `json:"old"`
		New         string `json:"new"`
		Partition   string `json:"partition,omitempty"`
		UIDValidity uint32 `json:"uidvalidity,omitempty"`
	}
	// UnmailboxEvent deletes a mailbox; its state is kept as a tombstone.
	UnmailboxEvent struct {
		UniqueID string `json:"uniqueid"`
		Name     string `json:"name"`
	}
	// ResyncEvent begins a resync, because the state of the mailbox differs from the
	// source (Reason), or ends it (Reason ""). During a resync, GET answers report the
	// mailbox as empty.
	ResyncEvent struct {
		UniqueID string `json:"uniqueid"`
		Reason   string `json:"reason"`
	}
	// SubEvent adds or removes a subscription.
	SubEvent struct {
		User       string `json:"user"`
		Name       string `json:"name"`
		Subscribed bool   `json:"subscribed"`
	}
	// SeenEvent replaces the seen state of a user in a mailbox.
	SeenEvent struct {
		User     string       `json:"user"`
		UniqueID string       `json:"uniqueid"`
		Fields   []dlist.Pair `json:"fields"` // all but USERID
	}
	// SieveEvent replaces a Sieve script.
	SieveEvent struct {
		User       string       `json:"user"`
		Filename   string       `json:"filename"`
		LastUpdate int64        `json:"last_update"` // seconds since the epoch
		GUID       cyrus.GUID   `json:"guid"`        // SHA-1 of content
		Content    string       `json:"content"`     // JSON: string, or {"b64":…}
		Extra      []dlist.Pair `json:"extra,omitempty"`
	}
	// UnsieveEvent deletes a Sieve script.
	UnsieveEvent struct {
		User     string `json:"user"`
		Filename string `json:"filename"`
	}
	// SieveActiveEvent activates a script. Filename is as the client sent it (name.bc);
	// "" deactivates all scripts.
	SieveActiveEvent struct {
		User     string `json:"user"`
		Filename string `json:"filename"`
	}
	// QuotaEvent replaces a quota.
	QuotaEvent struct {
		Root   string       `json:"root"`
		Fields []dlist.Pair `json:"fields"` // as sent, ROOT included
	}
	// UnquotaEvent deletes a quota.
	UnquotaEvent struct {
		Root string `json:"root"`
	}
	// AnnotationEvent sets an annotation of a mailbox, or of the server if Name is "".
	// A nil Value removes it (UNANNOTATION).
	AnnotationEvent struct {
		Name   string  `json:"name"`
		Entry  string  `json:"entry"`
		UserID string  `json:"userid"`
		Value  *string `json:"value"`
	}
	// UnuserEvent records that the account was deleted. Every mailbox, subscription, seen
	// state, script and quota of the backup is deleted as of this commit, and kept as
	// history.
	UnuserEvent struct {
		User string `json:"user"`
	}
	// AdoptedEvent precedes the full state of a mailbox from another backup.
	AdoptedEvent struct {
		UniqueID string `json:"uniqueid"`
		From     string `json:"from"`   // path of the other backup
		Number   uint64 `json:"number"` // its last commit at that moment
	}
	// MovedAwayEvent records that the mailbox has moved to another backup. This backup
	// keeps a tombstone.
	MovedAwayEvent struct {
		UniqueID string `json:"uniqueid"`
		To       string `json:"to"`
	}
	// PruneEvent drops tombstones and expunged records older than Before from the state.
	PruneEvent struct {
		Before time.Time `json:"before"`
	}
	// RetainedEvent records that retention removed commits From..To from the log.
	RetainedEvent struct {
		From uint64 `json:"from"`
		To   uint64 `json:"to"`
	}
	// BridgedEvent records that the log continues without commits that cannot be read.
	// Their changes are unknown, so every live mailbox goes into resync.
	BridgedEvent struct {
		Lost []LostRange `json:"lost"` // ascending, disjoint
	}
	// LostEvent records that bodies of the backup can no longer be read. Their messages
	// become missing until the source sends them again.
	LostEvent struct {
		Messages []cyrus.GUID `json:"messages"` // at most MaxMessagesPerEvent
	}
	// ErasedEvent records that the bodies of messages were erased. Their messages become missing,
	// and the mail server is not asked for them again. Erasure is the id of the record of the erasure: a run that was
	// interrupted finds its own event by it.
	ErasedEvent struct {
		Erasure  string       `json:"erasure"`
		Messages []cyrus.GUID `json:"messages"` // at most MaxMessagesPerEvent
	}
	// LockedEvent announces a lock. lock.json shows whether it is still held. A writer
	// of the next commit has read this event.
	LockedEvent struct {
		ID    string `json:"id"` // of the lock
		Owner string `json:"owner"`
	}
	// SealedEvent ends the log. If To names a repository, the log continues there (a
	// move), and the event ends only the copies in other repositories.
	SealedEvent struct {
		Reason string `json:"reason"`
		To     string `json:"to,omitempty"` // id of a repository; "" = the log continues nowhere
	}
)

// LostRange is a run of commits that cannot be read.
type LostRange struct {
	From   uint64 `json:"from"`
	To     uint64 `json:"to"`
	Reason string `json:"reason"` // "missing" or "damaged"
}

// Message is a message in the log. It does not include the places of its chunks, since
// those change.
type Message struct {
	GUID    cyrus.GUID `json:"guid"`
	Size    int64      `json:"size"`              // bytes
	Chunks  []ChunkID  `json:"chunks"`            // in order; JSON: hex strings
	Missing bool       `json:"missing,omitempty"` // no body: no chunks
	Private bool       `json:"private,omitempty"` // its bytes were made to collide with others of this guid: no other backup may refer to it
}

// ChunkID is the SHA-256 of a chunk's bytes.
type ChunkID [32]byte

// Place is where a chunk is stored: one line of places.ndjson.
type Place struct {
	Chunk  ChunkID `json:"chunk"`
	Object string  `json:"object"` // key below the partition's prefix; "." = the object that contains this line; see ErasedPlace
	Entry  string  `json:"entry"`  // name of the entry in the object
}

// BlockRef names a block of records: up to 4,096 consecutive UIDs (uid >> 12) of one mailbox.
type BlockRef struct {
	Block  uint32 `json:"block"`  // uid >> 12
	Count  int    `json:"count"`  // number of records
	SHA256 string `json:"sha256"` // of the block's ndjson bytes: its entry is <sha256>.records
	Object string `json:"object"` // key of the object that contains the entry
}
