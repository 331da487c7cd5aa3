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
	// ErrUnavailable: this backup, or the partition that it is in, cannot be used now, and
	// waiting for a moment does not change that: damage, no access, no answer. Others can
	// be used. How the client is kept going depends on the command (docs/errors.md).
	ErrUnavailable = errors.New("backup unavailable")
	// ErrAskUser: the client is to compare the whole user, by GET USER.
	ErrAskUser = errors.New("the whole user has to be compared")
	// ErrClose: the session cannot go on honestly; the connection is closed without an
	// answer, which loses nothing at the client (client-behaviour.md 3).
	ErrClose = errors.New("closing the connection")
)
