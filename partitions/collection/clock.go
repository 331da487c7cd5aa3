package collection

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// ErrClock reports that the time is in doubt, so that nothing can be called old.
var ErrClock = errors.New("the time is in doubt, and nothing is condemned or removed")

// certainNow returns the store's time if three answers in a row agree with the host's clock.
// Collection needs no estimate: it can wait until the clocks are right (design.md, promise
// 12). notBefore is a time that has passed already, or zero.
func certainNow(ctx context.Context, s objstore.Store, here func() time.Time, notBefore time.Time) (now time.Time, err error) {
	for range storeclock.Answers {
		info, err := s.Stat(ctx, repository.Key)
		if err != nil {
			return now, err
		}
		host := here().Round(0)
		switch {
		case info.StoreTime.IsZero():
			return now, fmt.Errorf("%w: the store's answers have no time", ErrClock)
		case info.StoreTime.Sub(host).Abs() > storeclock.Bound:
			return now, fmt.Errorf("%w: the store's clock shows %s, and that of this host %s", ErrClock, info.StoreTime.UTC().Format(time.RFC3339), host.UTC().Format(time.RFC3339))
		}
		now = info.StoreTime
	}
	if now.Before(notBefore.Add(-storeclock.Bound)) {
		return now, fmt.Errorf("%w: the clocks show %s, and the last pass was at %s", ErrClock, now.UTC().Format(time.RFC3339), notBefore.UTC().Format(time.RFC3339))
	}
	return now, nil
}
