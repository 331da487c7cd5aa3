package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// markTries is how often MarkErased puts backup.json, if another program changes it meanwhile or an answer is lost.
const markTries = 3

// MarkErased gives backup.json the version with which older programs refuse the backup. It comes before the first place of
// an erased message. Everything else in backup.json stays.
func (f *Found) MarkErased(ctx context.Context) error {
	s, key := f.Partition.Store, BackupInfoKey(f.Path)
	var failed error
	for range markTries {
		b, info, err := ReadSmall(ctx, s, key)
		if err != nil {
			return errors.Join(failed, err)
		}
		var i BackupInfo
		if err := json.Unmarshal(b, &i); err != nil {
			return fmt.Errorf("read %s: %w: %w", key, history.ErrCorrupt, err)
		}
		if i.ID != f.Info.ID {
			return fmt.Errorf("%s: %w: it belongs to another backup by now", key, ErrForeign)
		}
		if i.Version >= VersionErased {
			return nil
		}
		i.Version = VersionErased
		now, err := i.encode()
		if err != nil {
			return err
		}
		_, failed = s.Put(ctx, key, bytes.NewReader(now), objstore.PutOptions{IfMatch: info.ETag})
		if failed == nil {
			return nil
		}
	}
	return failed
}

// encode returns the bytes of backup.json.
func (i *BackupInfo) encode() ([]byte, error) {
	b, err := json.MarshalIndent(i, "", "  ")
	return append(b, '\n'), err
}
