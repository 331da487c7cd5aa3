package partitions

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

// ErrHeld: somebody holds the lock of the backup. It is a cyrus.ErrLocked.
var ErrHeld error = heldError{}

type heldError struct{}

// Error is the text that Cyrus's tools have, and that scripts look for.
func (heldError) Error() string { return "Mailbox is locked" }
func (heldError) Unwrap() error { return cyrus.ErrLocked }

// lockVersion is the version of lock.json.
const lockVersion = 1

// lockKey is the key of a backup's lock object.
func lockKey(path string) string { return backupPrefix(path) + "lock.json" }

// lockFile is lock.json: a lease by the store's clock.
type lockFile struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`    // 16 random bytes, hex
	Owner   string    `json:"owner"` // for people
	Since   time.Time `json:"since"`
	// Expires is when it ends unless it is renewed; zero = it was given back.
	Expires time.Time `json:"expires"`
}

func (l *lockFile) held() error {
	return fmt.Errorf("%w (by %s since %s)", ErrHeld, l.Owner, timespec.Text(l.Since))
}

// readLock reads lock.json; nil where there is none.
func readLock(ctx context.Context, s objstore.Store, path string) (*lockFile, objstore.Info, error) {
	b, info, err := readSmall(ctx, s, lockKey(path))
	if errors.Is(err, objstore.ErrNotExist) {
		return nil, objstore.Info{StoreTime: objstore.StoreTimeOf(err)}, nil
	}
	if err != nil {
		return nil, info, err
	}
	var l lockFile
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, info, fmt.Errorf("read %s: %w: %w", lockKey(path), history.ErrCorrupt, err)
	}
	if l.Version != lockVersion {
		return nil, info, fmt.Errorf("%s has version %d; this program knows version %d: %w", lockKey(path), l.Version, lockVersion, errVersion)
	}
	return &l, info, nil
}

func (l *lockFile) put(ctx context.Context, s objstore.Store, path string, o objstore.PutOptions) (objstore.Info, error) {
	b, err := json.Marshal(l)
	if err != nil {
		return objstore.Info{}, err
	}
	return s.Put(ctx, lockKey(path), bytes.NewReader(append(b, '\n')), o)
}
