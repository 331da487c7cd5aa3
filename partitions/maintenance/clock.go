package maintenance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// ErrClock reports that the age of objects is uncertain, so that nothing may be removed.
var ErrClock = errors.New("the time is uncertain, so nothing is removed")

// StoreNow returns the store's time, by which ages are judged. It asks three times: the
// answers must agree with each other and with this host's clock, which is the second witness.
func StoreNow(ctx context.Context, s objstore.Store, key string, now func() time.Time) (time.Time, error) {
	var at time.Time
	for range storeclock.Answers {
		info, err := s.Stat(ctx, key)
		if errors.Is(err, objstore.ErrNotExist) {
			info.StoreTime, err = objstore.StoreTimeOf(err), nil
		}
		if err != nil {
			return time.Time{}, err
		}
		here := now()
		if info.StoreTime.IsZero() || info.StoreTime.Sub(here).Abs() > storeclock.Bound {
			return time.Time{}, fmt.Errorf("%w: the store's clock shows %s, the clock of this host %s: correct the wrong one (NTP)",
				ErrClock, info.StoreTime.UTC().Format(time.RFC3339), here.UTC().Format(time.RFC3339))
		}
		if at.IsZero() || info.StoreTime.Before(at) {
			at = info.StoreTime // the earliest: the age of objects is underestimated
		}
	}
	return at, nil
}
