package repository

import (
	"time"

	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// LeaseState is what is known of a lease that somebody else holds.
type LeaseState byte

const (
	LeaseFree LeaseState = iota
	LeaseHeld
	LeaseDoubtful // it looks ended, or can never have been given: it is held until a second look
)

const (
	// leaseMargin is what a holder may be late with a renewal, beyond the lease.
	leaseMargin = time.Minute
	// leaseConfirm lies between two looks that agree that a lease has ended.
	leaseConfirm = time.Second
)

// LeaseWatch judges one lease by two clocks. By the store's it has ended when two looks,
// a moment apart, say so: one answer with a wrong time ends no lock. By this host's
// monotonic clock it has ended when nobody has renewed it for longer than a lease lasts:
// one wrong time does not make a lock hold for ten years.
type LeaseWatch struct {
	etag  string
	since time.Time // when lock.json was first seen as it is
	ended time.Time // when the lease first looked ended; zero = it does not
}

// Look judges lock.json as it was just read; now is the store's time.
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
