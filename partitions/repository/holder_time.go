package repository

import "time"

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
