package repository

import (
	"testing"
	"time"
)

// A lease ends after two observations, or if it is not renewed.
func TestLeaseWatch(t *testing.T) {
	now := time.Now()
	in := func(d time.Duration) *LockFile { return &LockFile{ID: "x", Expires: now.Add(d)} }
	var w LeaseWatch
	look := func(l *LockFile, etag string, want LeaseState, what string) {
		t.Helper()
		if got := w.Look(l, etag, now); got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	ago := func(at *time.Time, d time.Duration) { *at = time.Now().Add(-d) }
	look(nil, "", LeaseFree, "no lock")
	look(&LockFile{ID: "x"}, "1", LeaseFree, "released")
	look(in(time.Minute), "1", LeaseHeld, "held")
	look(in(-time.Minute), "1", LeaseDoubtful, "ended, one observation")
	look(in(time.Minute), "1", LeaseHeld, "held, next observation")
	look(in(-time.Minute), "1", LeaseDoubtful, "ended again")
	ago(&w.ended, leaseConfirm)
	look(in(-time.Minute), "1", LeaseFree, "ended, two observations")
	look(in(-24*time.Hour), "2", LeaseFree, "ended long ago")
	look(in(3650*24*time.Hour), "3", LeaseDoubtful, "a lease of ten years")
	ago(&w.since, longestLease+leaseMargin+time.Second)
	look(in(3650*24*time.Hour), "4", LeaseDoubtful, "renewed")
	ago(&w.since, longestLease+leaseMargin+time.Second)
	look(in(3650*24*time.Hour), "4", LeaseFree, "not renewed")
}
