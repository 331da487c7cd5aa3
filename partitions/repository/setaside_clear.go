package repository

import (
	"context"
	"errors"
	"slices"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// clear removes the originals: the log in ascending order, and backup.json last, because
// it names the owner of the others.
func (a *asideJob) clear(ctx context.Context) error {
	for {
		left, err := a.nextKeys(ctx)
		if err != nil || len(left) == 0 {
			return err
		}
		for _, key := range left {
			if err := a.remove(ctx, key); err != nil {
				return err
			}
		}
	}
}

// clearedAtOnce limits the number of keys in memory.
const clearedAtOnce = 10_000

// nextKeys returns the next keys to remove, in order.
func (a *asideJob) nextKeys(ctx context.Context) (keys []string, err error) {
	last := BackupInfoKey(a.f.Path)
	found := false
	for _, prefix := range []string{history.CheckpointPrefix(a.f.Path), history.RecordsPrefix(a.f.Path), history.LogPrefix(a.f.Path), BackupPrefix(a.f.Path)} {
		for info, err := range a.f.Partition.Store.List(ctx, prefix, "") {
			if err != nil {
				return nil, err
			}
			switch info.Key {
			case last:
				found = true
				continue
			case LockKey(a.f.Path), UpkeepKey(a.f.Path):
				continue
			}
			if keys = append(keys, info.Key); len(keys) == clearedAtOnce {
				return keys, nil
			}
		}
		if len(keys) > 0 {
			return slices.Compact(keys), nil
		}
	}
	if found {
		keys = []string{last}
	}
	return keys, nil
}

// remove removes an object after making sure that its copy exists.
func (a *asideJob) remove(ctx context.Context, key string) error {
	s := a.f.Partition.Store
	is, err := s.Stat(ctx, key)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	copied, err := s.Stat(ctx, a.key(key))
	if err != nil && !errors.Is(err, objstore.ErrNotExist) {
		return err
	}
	if key == HoldsKey(a.f.Path) { // it may have changed since the copy
		if err := CopyHolds(ctx, a.f, a.info.found(a.f.Partition, a.base), true); err != nil {
			return err
		}
		return s.Delete(ctx, key)
	}
	if err != nil || copied.Size != is.Size { // written after the copy was complete
		if err := a.copy(ctx, key); err != nil {
			return err
		}
	}
	return s.Delete(ctx, key)
}
