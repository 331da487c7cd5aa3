package repository

import (
	"time"

	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// LeaseState is the state of another writer's lease.
type LeaseState byte

// The states of a lease.
const (
	LeaseFree     LeaseState = iota
	LeaseHeld                // until it expires
	LeaseDoubtful            // expired or impossibly long: treated as held until a second look
)

const (
	// leaseMargin is how late a renewal may come after the lease has expired.
	leaseMargin = time.Minute
	// leaseConfirm is the time between the two looks that end a lease.
	leaseConfirm = time.Second
)

// LeaseWatch decides by two clocks whether a lease has ended. By the store's clock the
// lease ends after two looks that agree, so a single wrong time ends no lock. By this
// host's monotonic clock it ends if nobody has renewed it for longer than any lease lasts,
// so a wrong time in lock.json does not keep a lock for ten years.
type LeaseWatch struct {
	etag  string
	since time.Time // when this version of lock.json was first seen
	ended time.Time // when the lease was first found expired, or zero
}

// Look judges a lock.json that was just read. now is the store's time.
func (w *LeaseWatch) Look(l *LockFile, etag string, now time.Time) LeaseState {
	if l == nil || l.Expires.IsZero() {
		*w = LeaseWatch{}
		return LeaseFree
	}
	here := time.Now() // monotonic
	if w.since.IsZero() || w.etag != etag {
		*w = LeaseWatch{etag: etag, since: here}
	}
	left := l.Expires.Sub(now)
	switch {
	case here.Sub(w.since) > longestLease+leaseMargin, -left > storeclock.Bound:
		return LeaseFree
	case left > 0:
		w.ended = time.Time{}
		if left > longestLease+storeclock.Bound {
			return LeaseDoubtful // no lease is that long
		}
		return LeaseHeld
	case w.ended.IsZero():
		w.ended = here
	case here.Sub(w.ended) >= leaseConfirm:
		return LeaseFree
	}
	return LeaseDoubtful
}
