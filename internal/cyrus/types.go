// Package cyrus contains the values of Cyrus replication: mailboxes, records, names, GUIDs
// and the sync CRCs over them.
package cyrus

import (
	"encoding/hex"
	"fmt"

	"github.com/cyrusbackup/backupd/internal/cyrus/dlist"
)

// GUID is the SHA-1 of a message's bytes (imap/message_guid.c).
type GUID [20]byte

// ParseGUID reads 40 hex digits.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	if len(s) != 40 {
		return g, fmt.Errorf("guid %q: %w: want 40 hex digits", s, ErrBadParameters)
	}
	if _, err := hex.Decode(g[:], []byte(s)); err != nil {
		return g, fmt.Errorf("guid %q: %w: want 40 hex digits", s, ErrBadParameters)
	}
	return g, nil
}

func (g GUID) String() string { return hex.EncodeToString(g[:]) }

func (g GUID) appendHex(dst []byte) []byte { return hex.AppendEncode(dst, g[:]) }

// Mailbox is the head of APPLY MAILBOX: everything except RECORD and the SINCE_ fields.
// Fields holds every received field unchanged and in order, unknown fields included. The
// typed members repeat the fields that decisions depend on.
type Mailbox struct {
	UniqueID      string
	Name          string // internal name, as on the wire
	Type          string // MBOXTYPE; "" when not sent or NIL
	LastUID       uint32
	HighestModSeq uint64
	UIDValidity   uint32
	Partition     string
	SyncCRC       uint32 // computed by the client; 0 = unknown
	SyncCRCAnnot  uint32
	Fields        []dlist.Pair // without RECORD, SINCE_MODSEQ, SINCE_CRC, SINCE_CRC_ANNOT
}

// Intermediate reports whether the mailbox exists only as a path element (MBOXTYPE with
// flag i): it has no records and few fields.
func (m *Mailbox) Intermediate() bool { return hasTypeFlag(m.Type, 'i') }

// Since is the server's state as the client knows it (SINCE_*). Set is false if the client
// sent none.
type Since struct {
	Set           bool
	ModSeq        uint64
	CRC, CRCAnnot uint32
}

// Record is one RECORD of a mailbox.
type Record struct {
	UID          uint32
	ModSeq       uint64
	LastUpdated  int64    // seconds since the epoch
	Flags        []string // as sent, in order; \Expunged included
	InternalDate int64
	Size         uint32 // bytes
	GUID         GUID
	Annotations  []Annotation // complete set, virtual ones (modseq 0) included
	Extra        []dlist.Pair // unknown fields, in order
}

// Expunged reports whether the record has the pseudo flag \Expunged.
func (r *Record) Expunged() bool { return hasFlag(r.Flags, `\Expunged`) }

// Annotation is an annotation of a message or a mailbox. A null value is Value nil.
type Annotation struct {
	Entry  string
	UserID string // "" = shared
	ModSeq uint64
	Value  *string
	Extra  []dlist.Pair // unknown fields
}

// MailboxAnnotation is APPLY ANNOTATION: an annotation outside MAILBOX.
type MailboxAnnotation struct {
	Mailbox       string // "" = the server
	Entry, UserID string
	Value         *string // nil = null
}

// Seen is a user's seen state of one mailbox. Fields holds all fields except USERID.
type Seen struct {
	UserID, UniqueID string
	Fields           []dlist.Pair
}

// Quota is APPLY QUOTA; Fields as sent, ROOT included.
type Quota struct {
	Root   string
	Fields []dlist.Pair
}

// Sieve is APPLY SIEVE.
type Sieve struct {
	UserID, Filename string
	LastUpdate       int64
	Content          string
	Extra            []dlist.Pair
}

// Rename is APPLY RENAME.
type Rename struct {
	Old, New    string
	Partition   string
	UIDValidity uint32
}

// Fetch is GET FETCH.
type Fetch struct {
	Name, Partition, UniqueID string
	GUID                      GUID
	UID                       uint32
}
