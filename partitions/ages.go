package partitions

import (
	"sort"
	"time"
)

// AgeBounds returns the upper bounds of the classes of Ages, ascending.
func AgeBounds() []time.Duration {
	const day = 24 * time.Hour
	return []time.Duration{
		5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, 12 * time.Hour,
		day, 2 * day, 3 * day, 7 * day, 14 * day, 30 * day, 90 * day,
	}
}

// Ages counts backups by how long ago something happened to them.
type Ages struct {
	Counts [13]uint64 // by the first bound that is not exceeded; the last one exceed all
	Sum    time.Duration
	// Unknown are the backups without a time. They are not in Counts.
	Unknown uint64
}

// add counts a backup; at is zero if its time is unknown. A time in the future is now: clocks differ.
func (a *Ages) add(now, at time.Time, bounds []time.Duration) {
	if at.IsZero() {
		a.Unknown++
		return
	}
	age := max(0, now.Sub(at))
	a.Counts[sort.Search(len(bounds), func(i int) bool { return age <= bounds[i] })]++
	a.Sum += age
}

// Total returns the number of backups in Counts.
func (a *Ages) Total() (n uint64) {
	for _, c := range a.Counts {
		n += c
	}
	return n
}
