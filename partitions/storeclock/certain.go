package storeclock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// ErrUncertain reports that the age of objects is uncertain, so that nothing may be removed.
var ErrUncertain = errors.New("the time is uncertain, so nothing is removed")

// ErrEarlier is an ErrUncertain: an earlier run has seen a later time.
var ErrEarlier = fmt.Errorf("%w: the time is before that of the last run", ErrUncertain)

// Certain returns the store's time, for a program that removes old objects. Such a program needs no
// estimate: it can wait until the clocks are right (docs/design.md, promise 12). Certain asks
// three times for the object at key: each answer must agree with here, this host's clock, which is
// the second witness. It returns the earliest answer, so that ages are underestimated. notBefore
// is a time that has passed already, or zero.
func Certain(ctx context.Context, s objstore.Store, key string, here func() time.Time, notBefore time.Time) (time.Time, error) {
	var at time.Time
	for range Answers {
		info, err := s.Stat(ctx, key)
		if err != nil {
			return time.Time{}, fmt.Errorf("ask the store for the time: %w", err)
		}
		host := here().Round(0)
		switch {
		case info.StoreTime.IsZero():
			return time.Time{}, fmt.Errorf("%w: the store's answers have no time", ErrUncertain)
		case !near(info.StoreTime, host, Bound):
			return time.Time{}, fmt.Errorf("%w: the store's clock shows %s, the clock of this host %s: correct the wrong one (NTP)",
				ErrUncertain, shown(info.StoreTime), shown(host))
		}
		if at.IsZero() || info.StoreTime.Before(at) {
			at = info.StoreTime
		}
	}
	if at.Before(notBefore.Add(-Bound)) {
		return time.Time{}, fmt.Errorf("%w: the clocks show %s, but the last run was at %s: correct the clocks (NTP)", ErrEarlier, shown(at), shown(notBefore))
	}
	return at, nil
}

func shown(t time.Time) string { return t.UTC().Format(time.RFC3339) }
