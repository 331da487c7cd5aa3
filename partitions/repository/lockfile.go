package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// ErrHeld reports that another program holds the lock of the backup. It wraps
// cyrus.ErrLocked.
var ErrHeld error = heldError{}

type heldError struct{}

// Error returns the text of Cyrus's own tools, which scripts search for.
func (heldError) Error() string { return "Mailbox is locked" }
func (heldError) Unwrap() error { return cyrus.ErrLocked }

// lockVersion is the version of lock.json.
const lockVersion = 1

// LockKey is the key of a backup's lock object.
func LockKey(path string) string { return BackupPrefix(path) + "lock.json" }

// LockFile is lock.json or upkeep.json: a lease by the store's clock.
type LockFile struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`    // 16 random bytes, hex
	Owner   string    `json:"owner"` // for people
	Since   time.Time `json:"since"`
	// Expires is the end of the lease unless it is renewed; zero: the lock was released.
	Expires time.Time `json:"expires"`
}

// HeldError returns ErrHeld with the owner of the lock.
func (l *LockFile) HeldError() error { return l.heldError(ErrHeld) }

func (l *LockFile) heldError(kind error) error {
	return fmt.Errorf("%w (by %s since %s)", kind, l.Owner, timespec.Text(l.Since))
}

// ReadLock reads lock.json. It returns nil if there is none.
func ReadLock(ctx context.Context, s objstore.Store, path string) (*LockFile, objstore.Info, error) {
	return readLease(ctx, s, LockKey(path))
}

// readLease reads lock.json or upkeep.json. It returns nil if there is none.
func readLease(ctx context.Context, s objstore.Store, key string) (*LockFile, objstore.Info, error) {
	b, info, err := ReadSmall(ctx, s, key)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil, objstore.Info{StoreTime: objstore.StoreTimeOf(err)}, nil
	}
	if err != nil {
		return nil, info, err
	}
	var l LockFile
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, info, fmt.Errorf("read %s: %w: %w", key, history.ErrCorrupt, err)
	}
	if l.Version != lockVersion {
		return nil, info, fmt.Errorf("%s has version %d, this program supports version %d: %w", key, l.Version, lockVersion, ErrVersion)
	}
	return &l, info, nil
}

func (l *LockFile) put(ctx context.Context, s objstore.Store, key string, o objstore.PutOptions) (objstore.Info, error) {
	b, err := json.Marshal(l)
	if err != nil {
		return objstore.Info{}, err
	}
	return s.Put(ctx, key, bytes.NewReader(append(b, '\n')), o)
}
