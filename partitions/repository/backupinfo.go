package repository

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// BackupInfo is backup.json. It is written before commit 1, and never removed. Only its version changes: see MarkErased.
type BackupInfo struct {
	Version int       `json:"version"`
	Name    string    `json:"name"` // full name
	Kind    string    `json:"kind"`
	Created time.Time `json:"created"` // store time
	ID      string    `json:"id"`      // 16 random bytes, hex
}

// VersionErased is the version of backup.json if the log or a checkpoint may have places of erased messages. A program that
// knows only version 1 refuses the backup. Otherwise it would treat these objects as damaged.
const VersionErased = 2

// BackupPrefix is the prefix of the objects of a backup.
func BackupPrefix(path string) string { return "backups/" + path + "/" }

// BackupInfoKey is the key of backup.json.
func BackupInfoKey(path string) string { return BackupPrefix(path) + "backup.json" }

// ReadBackupInfo reads backup.json. The error is history.ErrCorrupt if it is damaged,
// ErrVersion if a newer program wrote it, and objstore.ErrNotExist if it is missing.
func ReadBackupInfo(ctx context.Context, s objstore.Store, path string) (*BackupInfo, error) {
	i, _, err := readBackupInfo(ctx, s, path)
	return i, err
}

// readBackupInfo also returns the version of the object.
func readBackupInfo(ctx context.Context, s objstore.Store, path string) (*BackupInfo, objectVersion, error) {
	key := BackupInfoKey(path)
	b, info, err := ReadSmall(ctx, s, key)
	if err != nil {
		return nil, objectVersion{}, err
	}
	var i BackupInfo
	if err := json.Unmarshal(b, &i); err != nil {
		return nil, objectVersion{}, fmt.Errorf("read %s: %w: %w", key, history.ErrCorrupt, err)
	}
	if i.Version < Version || i.Version > VersionErased {
		return nil, objectVersion{}, fmt.Errorf("%s has version %d, this program supports versions up to %d: %w", key, i.Version, VersionErased, ErrVersion)
	}
	info.Key = key
	return &i, versionOf(info), nil
}

// Check returns an error if this is not the backup of n. Two truncated names have the
// same path only if their SHA-256 hashes are equal, so normally somebody copied objects.
func (i *BackupInfo) Check(n Name) error {
	if i.Kind != n.Kind || i.Name != n.Full {
		return fmt.Errorf("%s names %s %s instead of %s: %w", BackupInfoKey(n.Path()), i.Kind, i.Name, n, ErrForeign)
	}
	return nil
}
