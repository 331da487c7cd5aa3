package history

import (
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// Version is the format of commits and checkpoints that this package writes.
const Version = 1

// versionLoss is the format of a commit with an event that records a loss (BridgedEvent,
// LostEvent). Only such commits carry it: readers of version 1 still read all others.
const versionLoss = 2

// Header is the first line of commit.ndjson.
type Header struct {
	Version    int       `json:"version"`
	Backup     string    `json:"backup"`     // path below backups/, as user/anne
	Number     uint64    `json:"number"`     // 1, 2, 3, … without gaps
	Prev       string    `json:"prev"`       // hex SHA-256 of the previous commit.ndjson, uncompressed; "" for number 1
	Time       time.Time `json:"time"`       // store time, never below the previous commit's
	Host       string    `json:"host"`       // who wrote it
	Clock      time.Time `json:"clock"`      // that host's own clock
	Connection string    `json:"connection"` // its connection
	Client     string    `json:"client"`     // the peer: address and authenticated user
	Random     string    `json:"random"`     // 16 random bytes, hex: tells our own commit from another writer's
}

// Event is one further line of commit.ndjson: {"event":"<Kind>", …}. The set is closed:
// an unknown kind in a known version is an error.
type Event interface {
	Kind() string
}

// The events of version 1. All are upserts or removals of one item of the state;
// what they mean together is defined by Fold alone.
type (
	// MailboxEvent replaces the head of a mailbox, with all fields the client sent.
	MailboxEvent struct {
		UniqueID string       `json:"uniqueid"`
		Name     string       `json:"name"`
		Fields   []dlist.Pair `json:"fields"` // without RECORD and SINCE_*; JSON: array of [key, value]
	}
	// RecordsEvent upserts records of a mailbox, ascending by uid, at most 512 a line.
	RecordsEvent struct {
		UniqueID string          `json:"uniqueid"`
		Records  []*cyrus.Record `json:"records"`
	}
	// RecordBlocksEvent is RecordsEvent for more records than a commit holds: they lie
	// in record block objects that were put before it.
	RecordBlocksEvent struct {
		UniqueID string     `json:"uniqueid"`
		Blocks   []BlockRef `json:"blocks"`
	}
	// CompleteEvent ends a complete set: records of the mailbox that this commit did
	// not write are gone at the source, and are expunged as of this commit.
	CompleteEvent struct {
		UniqueID string `json:"uniqueid"`
	}
	// ExpungeEvent marks records \Expunged without a new modseq (APPLY EXPUNGE).
	ExpungeEvent struct {
		UniqueID string   `json:"uniqueid"`
		UIDs     []uint32 `json:"uids"`
	}
	// MessagesEvent makes messages known to this backup, before records name them; at most 512 a line.
	MessagesEvent struct {
		Messages []Message `json:"messages"`
	}
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
	// ResyncEvent: the state of the mailbox is known not to be the source's (Reason), or
	// is again (Reason ""). While in resync, GET answers report it as empty.
	ResyncEvent struct {
		UniqueID string `json:"uniqueid"`
		Reason   string `json:"reason"`
	}
	SubEvent struct {
		User       string `json:"user"`
		Name       string `json:"name"`
		Subscribed bool   `json:"subscribed"`
	}
	SeenEvent struct {
		User     string       `json:"user"`
		UniqueID string       `json:"uniqueid"`
		Fields   []dlist.Pair `json:"fields"` // all but USERID
	}
	SieveEvent struct {
		User       string       `json:"user"`
		Filename   string       `json:"filename"`
		LastUpdate int64        `json:"last_update"` // seconds since the epoch
		GUID       cyrus.GUID   `json:"guid"`        // SHA-1 of content
		Content    string       `json:"content"`     // JSON: string, or {"b64":…}
		Extra      []dlist.Pair `json:"extra,omitempty"`
	}
	UnsieveEvent struct {
		User     string `json:"user"`
		Filename string `json:"filename"`
	}
	// SieveActiveEvent: Filename as the client named it (name.bc); "" = none is active.
	SieveActiveEvent struct {
		User     string `json:"user"`
		Filename string `json:"filename"`
	}
	QuotaEvent struct {
		Root   string       `json:"root"`
		Fields []dlist.Pair `json:"fields"` // as sent, ROOT included
	}
	UnquotaEvent struct {
		Root string `json:"root"`
	}
	// AnnotationEvent: Name "" = the server. Value nil removes it (UNANNOTATION).
	AnnotationEvent struct {
		Name   string  `json:"name"`
		Entry  string  `json:"entry"`
		UserID string  `json:"userid"`
		Value  *string `json:"value"`
	}
	// UnuserEvent: the account was deleted: every mailbox, subscription, seen state,
	// script and quota of the backup is gone as of this commit (and kept as history).
	UnuserEvent struct {
		User string `json:"user"`
	}
	// AdoptedEvent precedes the full state of a mailbox that came from another backup.
	AdoptedEvent struct {
		UniqueID string `json:"uniqueid"`
		From     string `json:"from"`   // path of the other backup
		Number   uint64 `json:"number"` // its last commit at that moment
	}
	// MovedAwayEvent: the mailbox lives in another backup from now on; kept here as a tombstone.
	MovedAwayEvent struct {
		UniqueID string `json:"uniqueid"`
		To       string `json:"to"`
	}
	// PruneEvent drops tombstones and expunged records older than Before from the state.
	PruneEvent struct {
		Before time.Time `json:"before"`
	}
	// RetainedEvent: commits From..To were removed from the log by retention.
	RetainedEvent struct {
		From uint64 `json:"from"`
		To   uint64 `json:"to"`
	}
	// BridgedEvent: the log has commits that cannot be read, and goes on without them.
	// Nobody knows what they changed, so every live mailbox goes into resync.
	BridgedEvent struct {
		Lost []LostRange `json:"lost"` // ascending, disjoint
	}
	// LostEvent: bodies that the backup held cannot be read any more. Their messages
	// become missing until the source sends them again.
	LostEvent struct {
		Messages []cyrus.GUID `json:"messages"` // at most MaxMessagesPerEvent
	}
	// LockedEvent announces a lock: lock.json says whether it still holds. Whoever wants
	// to write the next commit has read this one.
	LockedEvent struct {
		ID    string `json:"id"` // of the lock
		Owner string `json:"owner"`
	}
	// SealedEvent ends the log: for good, or where it stands in another repository than
	// To, in which it goes on (a move).
	SealedEvent struct {
		Reason string `json:"reason"`
		To     string `json:"to,omitempty"` // id of a repository; "" = the log goes on nowhere
	}
)

// LostRange is a run of commits that cannot be read.
type LostRange struct {
	From   uint64 `json:"from"`
	To     uint64 `json:"to"`
	Reason string `json:"reason"` // "missing" or "damaged"
}

// Message is a message as the log knows it: never a place.
type Message struct {
	GUID    cyrus.GUID `json:"guid"`
	Size    int64      `json:"size"`              // bytes
	Chunks  []ChunkID  `json:"chunks"`            // in order; JSON: hex strings
	Missing bool       `json:"missing,omitempty"` // the client could not read its file: no chunks
	Private bool       `json:"private,omitempty"` // its bytes were made to collide with others of this guid: no other backup may refer to it
}

// ChunkID is the SHA-256 of a chunk's bytes.
type ChunkID [32]byte

// Place is where a chunk lies: one line of places.ndjson.
type Place struct {
	Chunk  ChunkID `json:"chunk"`
	Object string  `json:"object"` // key below the partition's prefix; "." = the object that holds this line
	Entry  string  `json:"entry"`  // name of the entry in it
}

// BlockRef names a block of records: up to 4,096 consecutive UIDs (uid >> 12) of one mailbox.
type BlockRef struct {
	Block  uint32 `json:"block"`  // uid >> 12
	Count  int    `json:"count"`  // records in it
	SHA256 string `json:"sha256"` // of the block's ndjson bytes: its entry is <sha256>.records
	Object string `json:"object"` // key of the object that holds the entry
}
