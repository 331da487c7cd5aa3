package partitions

import (
	"testing"
	"time"
)

// A lease ends after two looks, or when nobody renews it.
func TestLeaseWatch(t *testing.T) {
	now := time.Now()
	in := func(d time.Duration) *lockFile { return &lockFile{ID: "x", Expires: now.Add(d)} }
	var w leaseWatch
	look := func(l *lockFile, etag string, want leaseState, what string) {
		t.Helper()
		if got := w.look(l, etag, now); got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	ago := func(at *time.Time, d time.Duration) { *at = time.Now().Add(-d) }
	look(nil, "", leaseFree, "no lock")
	look(&lockFile{ID: "x"}, "1", leaseFree, "given back")
	look(in(time.Minute), "1", leaseHeld, "held")
	look(in(-time.Minute), "1", leaseDoubtful, "ended, by one look")
	look(in(time.Minute), "1", leaseHeld, "held, by the next")
	look(in(-time.Minute), "1", leaseDoubtful, "ended again")
	ago(&w.ended, leaseConfirm)
	look(in(-time.Minute), "1", leaseFree, "ended, by two looks")
	look(in(-24*time.Hour), "2", leaseFree, "ended long ago")
	look(in(3650*24*time.Hour), "3", leaseDoubtful, "a lease of ten years")
	ago(&w.since, lockLease+leaseMargin+time.Second)
	look(in(3650*24*time.Hour), "4", leaseDoubtful, "renewed")
	ago(&w.since, lockLease+leaseMargin+time.Second)
	look(in(3650*24*time.Hour), "4", leaseFree, "not renewed")
}
