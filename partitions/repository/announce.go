package repository

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// AnnounceTries is how many commit numbers a writer of the tools tries before it gives up.
const AnnounceTries = 50

// announce puts a LockedEvent as the next commit.
func (l *Lock) announce(ctx context.Context) error {
	f := l.found
	newest, err := f.HighestNumber(ctx) // HEAD requests would mistake a hole in the log for its end
	if err != nil {
		return err
	}
	for range AnnounceTries {
		tip, err := f.OpenTip(ctx, newest)
		if err != nil {
			return err
		}
		newest = tip.Number
		won, err := l.commit(ctx, tip)
		if won || err != nil {
			return err
		}
	}
	return fmt.Errorf("announce the lock of %s: other writers took %d commit numbers in a row: try again", f.Name(), AnnounceTries)
}

func (l *Lock) commit(ctx context.Context, tip history.Tip) (won bool, err error) {
	h := l.Options.Header(l.found, tip, l.file.Since)
	return l.found.PutCommit(ctx, h, &history.LockedEvent{ID: l.file.ID, Owner: l.Options.Owner})
}

// AnnounceAnyway announces the lock even if the newest commit is unreadable. It then uses
// the number after the highest one, and never fills a hole in the log.
func (l *Lock) AnnounceAnyway(ctx context.Context) error {
	err := l.announce(ctx)
	if err == nil || !history.IsUnreadable(err) && !errors.Is(err, ErrSealed) {
		return err
	}
	if errors.Is(err, ErrSealed) {
		return nil // no daemon writes to a log that continues in another repository
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
	return fmt.Errorf("announce the lock of %s: other writers took %d commit numbers in a row: try again", l.found.Name(), AnnounceTries)
}
