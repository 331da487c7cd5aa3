package cyrus

import "errors"

// The refusals that a client can act on; replication turns each into its line
// (imap/sync_support.c: sync_parse_response). Wrap them with what and where.
var (
	ErrNonexistent   = errors.New("no such mailbox")                              // NO IMAP_MAILBOX_NONEXISTENT
	ErrLocked        = errors.New("mailbox locked")                               // NO IMAP_MAILBOX_LOCKED
	ErrMoved         = errors.New("mailbox exists with another name or uniqueid") // NO IMAP_MAILBOX_MOVED
	ErrSyncChanged   = errors.New("changed since last sync")                      // NO IMAP_SYNC_CHANGED
	ErrBadParameters = errors.New("bad parameters")                               // NO IMAP_PROTOCOL_BAD_PARAMETERS
	ErrProtocol      = errors.New("protocol error")                               // NO IMAP_PROTOCOL_ERROR
	// ErrClose: the session cannot go on honestly; the connection is closed without an
	// answer, which loses nothing at the client (client-behaviour.md 3).
	ErrClose = errors.New("closing the connection")
)
