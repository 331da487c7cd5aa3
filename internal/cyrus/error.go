package cyrus

import "errors"

// Refusals that a client can act on. Package replication converts each to its reply line
// (imap/sync_support.c: sync_parse_response). Wrap them with the operation and the object.
var (
	ErrNonexistent   = errors.New("no such mailbox")                              // NO IMAP_MAILBOX_NONEXISTENT
	ErrLocked        = errors.New("mailbox locked")                               // NO IMAP_MAILBOX_LOCKED
	ErrMoved         = errors.New("mailbox exists with another name or uniqueid") // NO IMAP_MAILBOX_MOVED
	ErrSyncChanged   = errors.New("changed since last sync")                      // NO IMAP_SYNC_CHANGED
	ErrBadParameters = errors.New("bad parameters")                               // NO IMAP_PROTOCOL_BAD_PARAMETERS
	ErrProtocol      = errors.New("protocol error")                               // NO IMAP_PROTOCOL_ERROR
	// ErrUnavailable: this backup, or its partition, cannot be used now, and a short wait
	// does not help: damage, no access, no answer. Other backups can be used.
	// docs/errors.md describes how each command keeps the client going.
	ErrUnavailable = errors.New("backup unavailable")
	// ErrAskUser: the client must compare the whole user, by GET USER.
	ErrAskUser = errors.New("a comparison of the whole user is required")
	// ErrOutside: the login may not touch the backup (option backup_scopes). The client is answered so that
	// it continues with other users.
	ErrOutside = errors.New("outside the scope of this login")
	// ErrClose: the session cannot continue with a correct answer. The connection is closed
	// without an answer, which loses nothing at the client (client-behaviour.md 3).
	ErrClose = errors.New("closing the connection")
)
