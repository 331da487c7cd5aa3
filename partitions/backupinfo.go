package partitions

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// BackupInfo is backup.json: put before commit 1, never changed, never removed.
type BackupInfo struct {
	Version int       `json:"version"`
	Name    string    `json:"name"` // full name
	Kind    string    `json:"kind"`
	Created time.Time `json:"created"` // store time
	ID      string    `json:"id"`      // 16 random bytes, hex
}

func backupPrefix(path string) string { return "backups/" + path + "/" }

func backupInfoKey(path string) string { return backupPrefix(path) + "backup.json" }

func readBackupInfo(ctx context.Context, s objstore.Store, path string) (*BackupInfo, error) {
	b, _, err := readSmall(ctx, s, backupInfoKey(path))
	if err != nil {
		return nil, err
	}
	var i BackupInfo
	if err := json.Unmarshal(b, &i); err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", backupInfoKey(path), history.ErrCorrupt, err)
	}
	if i.Version != repositoryVersion {
		return nil, fmt.Errorf("%s has version %d; this program knows version %d: %w", backupInfoKey(path), i.Version, repositoryVersion, errVersion)
	}
	return &i, nil
}

// check refuses a backup that stands under this path but is another one's: two
// names whose encodings were cut can only meet if SHA-256 does.
func (i *BackupInfo) check(n Name) error {
	if i.Kind != n.Kind || i.Name != n.Full {
		return fmt.Errorf("%s is the backup of %s %s, not of %s: %w", backupInfoKey(n.Path()), i.Kind, i.Name, n, errForeign)
	}
	return nil
}
