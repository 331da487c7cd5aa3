package repository

import (
	"context"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/objstore"
)

// abandoned refuses to replace a lock.json that may be somebody's: whoever holds a lock
// puts the file again within the lease.
func (l *Lock) abandoned(info objstore.Info, now time.Time) error {
	if info.Modified.IsZero() || now.Sub(info.Modified) > l.Options.Lease {
		return nil
	}
	return fmt.Errorf("%w: %s cannot be read, and was written at %s: if nobody writes it again, it is replaced after %s",
		ErrHeld, LockKey(l.found.Path), timespec.Text(info.Modified), l.Options.Lease)
}

// remove gives the lock back with its file.
func (l *Lock) remove(ctx context.Context) error {
	if err := l.stop(); err != nil {
		return err
	}
	if err := l.found.Partition.Store.Delete(ctx, LockKey(l.found.Path)); err != nil {
		return fmt.Errorf("give back the lock of %s: %w", l.found.Name(), err)
	}
	return nil
}
