package client

import (
	"errors"
	"strings"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// Refusals beyond the sentinels of package cyrus (imap/sync_support.c,
// sync_parse_response).
var (
	ErrInvalidUser  = errors.New("no such user")
	ErrChecksum     = errors.New("checksum failure")
	ErrNotSupported = errors.New("operation is not supported on mailbox")
	ErrBadSieve     = errors.New("sieve script does not compile")
	ErrPermission   = errors.New("permission denied")
	ErrBye          = errors.New("server is closing")
)

// RefusedError is an answer other than OK. errors.Is matches the sentinel of its token.
type RefusedError struct {
	Command string // the refused command: "APPLY MAILBOX"
	Status  string // NO, BAD or BYE
	Token   string // IMAP_MAILBOX_LOCKED; "" without a token
	Text    string // the text after the status, token included
}

func (e *RefusedError) Error() string { return e.Command + ": " + e.Status + " " + e.Text }

// Is matches the sentinel of the token or status.
func (e *RefusedError) Is(target error) bool {
	if e.Status == "BYE" {
		return target == ErrBye
	}
	switch e.Token {
	case "IMAP_INVALID_USER":
		return target == ErrInvalidUser
	case "IMAP_MAILBOX_NONEXISTENT":
		return target == cyrus.ErrNonexistent
	case "IMAP_MAILBOX_LOCKED":
		return target == cyrus.ErrLocked
	case "IMAP_MAILBOX_MOVED":
		return target == cyrus.ErrMoved
	case "IMAP_MAILBOX_NOTSUPPORTED":
		return target == ErrNotSupported
	case "IMAP_SYNC_CHECKSUM":
		return target == ErrChecksum
	case "IMAP_SYNC_CHANGED":
		return target == cyrus.ErrSyncChanged
	case "IMAP_SYNC_BADSIEVE":
		return target == ErrBadSieve
	case "IMAP_PROTOCOL_ERROR":
		return target == cyrus.ErrProtocol
	case "IMAP_PROTOCOL_BAD_PARAMETERS":
		return target == cyrus.ErrBadParameters
	case "IMAP_PERMISSION_DENIED":
		return target == ErrPermission
	}
	return false
}

// refusal makes the error for a status line other than OK.
func refusal(command, status, text string) *RefusedError {
	e := &RefusedError{Command: command, Status: status, Text: text}
	if first, _, _ := strings.Cut(text, " "); strings.HasPrefix(first, "IMAP_") {
		e.Token = first
	}
	return e
}
