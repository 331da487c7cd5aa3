package maintenance

import (
	"hash/fnv"
	"time"
)

const (
	// settled is how long a backup without changes is looked at every night, after its last deletion
	// has become old enough.
	settled = 8 * 24 * time.Hour
	// quietNights is the interval after that.
	quietNights = 8
)

// quiet reports whether the listing shows that a backup has ended: its log has nothing to remove, and
// runs in the past have had time to drop its deleted content. There are many such backups, and each
// look costs requests. One night in eight it is looked at anyway.
func (r *retainer) quiet(now time.Time) bool {
	first, last := r.have.log[0].from, r.have.log[0].modified
	for _, o := range r.have.log {
		if o.modified.After(last) {
			last = o.modified
		}
	}
	if now.Sub(last) < r.o.Keep+settled {
		return false
	}
	if cuts := r.have.cuts(now, false); len(cuts) > 0 {
		if cut := cuts[len(cuts)-1]; cut > first || r.have.upTo(cut).Bytes > smallLog {
			return false
		}
	}
	night := fnv.New32a()
	_, _ = night.Write([]byte(r.f.Path)) // never fails
	return (uint64(night.Sum32())+uint64(now.Unix()/86400))%quietNights != 0
}
