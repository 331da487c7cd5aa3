package repository

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
)

// leaseTime is a moment by two clocks of this host. The monotonic clock ignores changes of
// the time, but stops while the host sleeps; the other one does not.
type leaseTime struct{ mono, wall time.Time }

func leaseNow() leaseTime {
	now := time.Now()
	return leaseTime{mono: now, wall: now.Round(0)}
}

// since returns the time since t by the clock that shows more.
func (t leaseTime) since() time.Duration {
	now := leaseNow()
	return max(now.mono.Sub(t.mono), now.wall.Sub(t.wall))
}

func (l *holder) setRenewed(t leaseTime) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed = t
}

// left returns how long the lease can be relied on. That is a little less than the lease,
// since a request that has just been sent takes time to arrive.
func (l *holder) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Options.Lease - l.Options.Lease/12 - l.renewed.since()
}

// time returns the store's time for the beginning of a lease. If the clock has enough answers,
// from earlier leases of this program, it sends no request: correct notices an estimate that
// is wrong because this host has slept or was paused.
func (l *holder) time(ctx context.Context) (time.Time, error) {
	if l.clock.Sure() {
		return l.clock.Now(l.Options.Now()), nil
	}
	return l.Now(ctx)
}

// leaseSlack is the part of a lease by which its beginning may differ from the store's time in
// the answer to its put. It is half of what left deducts.
const leaseSlack = 24

// correctTries is how often a lease is put again because of its time.
const correctTries = 3

// correct compares the beginning of a lease that was just put with the store's time in the answer.
// If they differ, it asks for the time. If that shows another time too, it puts the lease again, and
// compares again: this host may be paused at any moment. One answer thus decides nothing: it only
// costs requests. A lease that never begins at the right time is released.
func (l *holder) correct(ctx context.Context) error {
	for try := 0; !l.begunAt(l.putAt); try++ {
		begun := leaseNow()
		now, err := l.Now(ctx)
		if err != nil {
			return err
		}
		if l.begunAt(now) {
			return nil // the answer was wrong
		}
		if try == correctTries {
			err = fmt.Errorf("%s begins at %s, but the store's time is %s, after %d attempts: this host was paused each time",
				l.lease, l.file.Since.Format(time.RFC3339), now.UTC().Format(time.RFC3339), try+1)
			l.file.Expires = time.Time{}
			return errors.Join(err, l.put(ctx, objstore.PutOptions{IfMatch: l.etag}))
		}
		if err := l.begin(ctx, begun, now, objstore.PutOptions{IfMatch: l.etag}); err != nil {
			return err
		}
	}
	return nil
}

// begunAt reports whether the lease begins at about this time; zero = unknown.
func (l *holder) begunAt(at time.Time) bool {
	return at.IsZero() || at.Sub(l.file.Since).Abs() <= l.Options.Lease/leaseSlack
}
