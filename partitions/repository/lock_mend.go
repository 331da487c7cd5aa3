package repository

import (
	"context"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/objstore"
)

// abandoned returns nil if nobody holds a lock.json that is unreadable. A holder would
// have rewritten it within the lease.
func (l *Lock) abandoned(info objstore.Info, now time.Time) error {
	if info.Modified.IsZero() || now.Sub(info.Modified) > l.Options.Lease {
		return nil
	}
	return fmt.Errorf("%w: %s is unreadable, but was written at %s: try again after %s, when its lease has ended",
		ErrHeld, LockKey(l.found.Path), timespec.Text(info.Modified), l.Options.Lease)
}

// remove releases the lock and removes lock.json.
func (l *Lock) remove(ctx context.Context) error {
	if err := l.stop(); err != nil {
		return err
	}
	if err := l.found.Partition.Store.Delete(ctx, LockKey(l.found.Path)); err != nil {
		return fmt.Errorf("release the lock of %s: %w", l.found.Name(), err)
	}
	return nil
}
