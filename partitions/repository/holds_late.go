package repository

import (
	"context"
	"errors"

	"github.com/cyrusbackup/backupd/objstore"
)

// TakeLateHolds moves holds from the former place of a backup that was set aside to the copy: they
// were placed after that place was cleared. Holds of a new backup stay.
func TakeLateHolds(ctx context.Context, p Config, to *Found) error {
	from := &Found{Partition: p, Path: to.Path, Info: to.Info}
	late, err := from.lateHolds(ctx)
	if err != nil || !late {
		return err
	}
	if err := CopyHolds(ctx, from, to, true); err != nil {
		return err
	}
	return p.Store.Delete(ctx, HoldsKey(from.Path))
}

// lateHolds reports whether there is a holds.json, but no backup.
func (f *Found) lateHolds(ctx context.Context) (bool, error) {
	_, err := f.unlistedStore().Stat(ctx, HoldsKey(f.Path))
	if errors.Is(err, objstore.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, err = f.unlistedStore().Stat(ctx, BackupInfoKey(f.Path))
	if errors.Is(err, objstore.ErrNotExist) {
		return true, nil
	}
	return false, err
}

// WithdrawLateHold removes a hold that a program has placed since the backup was set aside, moved or
// erased. Otherwise the next backup of this name would begin with it. The hold stays beside other
// holds, in another backup of this name, and if the program may not delete.
func (f *Found) WithdrawLateHold(ctx context.Context, x Hold) error {
	late, err := f.lateHolds(ctx)
	if err != nil || !late {
		return err
	}
	h, err := f.ReadHolds(ctx)
	if err != nil || len(h.Holds) != 1 || !h.Holds[0].repeats(x) {
		return err
	}
	err = f.Partition.Store.Delete(ctx, HoldsKey(f.Path))
	if errors.Is(err, objstore.ErrDenied) {
		return nil
	}
	return err
}
