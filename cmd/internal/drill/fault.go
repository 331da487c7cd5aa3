package drill

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/replication/client"
)

// ServerError is a fault of the server of a drill, and not of the backup.
type ServerError struct{ Err error }

// Error implements error.
func (e *ServerError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *ServerError) Unwrap() error { return e.Err }

// ofServer marks an error of a request to the server. An interruption is no fault.
func ofServer(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	return &ServerError{err}
}

// ofBackup reports whether an error is about the backup, its store, or the files of this host.
func ofBackup(err error) bool {
	var local *fs.PathError
	return history.IsDamage(err) || repository.IsStoreError(err) || errors.Is(err, restore.ErrState) || errors.As(err, &local)
}

// faulty reports whether an item was not restored because of a fault of the server: it has lost the
// connection, or has refused the item without a reason that is about the item. It does so if its disk
// is full (imap/sync_support.c, sync_response: "NO Unknown error").
func faulty(err error) bool {
	if ofBackup(err) {
		return false
	}
	var fault *ServerError
	if errors.As(err, &fault) {
		return true
	}
	var refused *client.RefusedError
	if errors.As(err, &refused) {
		return refused.Token == "" || errors.Is(err, client.ErrPermission) || errors.Is(err, cyrus.ErrLocked)
	}
	var lost net.Error
	return errors.Is(err, client.ErrIdle) || errors.As(err, &lost) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed)
}
