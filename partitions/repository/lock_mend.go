package repository

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/internal/timespec"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
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

// AnnounceAnyway is announce, also where the newest commit cannot be read: the lock is
// announced under the number after the highest that there is, and nothing is put into a hole.
func (l *Lock) AnnounceAnyway(ctx context.Context) error {
	err := l.announce(ctx)
	if err == nil || !history.IsUnreadable(err) && !errors.Is(err, ErrSealed) {
		return err
	}
	if errors.Is(err, ErrSealed) {
		return nil // no daemon writes to a log that goes on elsewhere
	}
	for range AnnounceTries {
		highest, err := l.found.HighestNumber(ctx)
		if err != nil {
			return err
		}
		won, err := l.commit(ctx, history.Tip{Number: highest})
		if won || err != nil {
			return err
		}
	}
	return fmt.Errorf("announce the lock of %s: %d numbers of its log were taken by others", l.found.Name(), AnnounceTries)
}

// HighestNumber is the highest number that an object of the log or a checkpoint has.
func (f *Found) HighestNumber(ctx context.Context) (n uint64, err error) {
	for info, err := range f.Partition.Store.List(ctx, history.LogPrefix(f.Path), "") {
		if err != nil {
			return 0, err
		}
		if _, to, ok := history.ParseLogKey(f.Path, info.Key); ok {
			n = max(n, to)
		}
	}
	numbers, err := f.Log().Checkpoints(ctx)
	if len(numbers) > 0 {
		n = max(n, numbers[0])
	}
	return n, err
}
