package repository

import (
	"context"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/objstore"
)

// abandoned returns nil if nobody holds a lease that is unreadable. A holder would
// have rewritten it within the lease.
func (l *holder) abandoned(info objstore.Info, now time.Time) error {
	if info.Modified.IsZero() || now.Sub(info.Modified) > l.Options.Lease {
		return nil
	}
	return fmt.Errorf("%w: %s is unreadable, but was written at %s: try again after %s, when its lease has ended",
		l.taken, l.key, timespec.Text(info.Modified), l.Options.Lease)
}

// remove releases the lease and removes its object.
func (l *holder) remove(ctx context.Context) error {
	if err := l.stop(); err != nil {
		return err
	}
	if err := l.store.Delete(ctx, l.key); err != nil {
		return fmt.Errorf("release %s: %w", l.lease, err)
	}
	return nil
}
