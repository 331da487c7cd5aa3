package tripwire

import (
	"cmp"
	"slices"
	"time"
)

const (
	// bucketsIn is how many parts a window has: windows begin at the beginning of one.
	bucketsIn = 24
	// windowsMost limits how many windows are judged: each reads a state of the past.
	windowsMost = 8
)

// window is a time in which many messages were deleted.
type window struct {
	from, to time.Time
	n        int // messages of the sample
}

// windows returns the windows with enough deletions, those with the most first. They do not
// overlap.
func (t *table) windows(r Rule) []window {
	bucket := int64(r.Window / bucketsIn / time.Second)
	count := map[int64]int{}
	for _, d := range t.gone {
		count[d.at/bucket]++
	}
	var at []int64
	for b := range count {
		at = append(at, b)
	}
	slices.Sort(at)
	var all []window
	end, n := 0, 0
	for i, first := range at {
		for end < len(at) && at[end] < first+bucketsIn {
			n += count[at[end]]
			end++
		}
		if n<<t.skip >= r.Least {
			all = append(all, window{time.Unix(first*bucket, 0), time.Unix((first+bucketsIn)*bucket, 0), n})
		}
		n -= count[at[i]]
	}
	slices.SortStableFunc(all, func(a, b window) int { return cmp.Compare(b.n, a.n) })
	var out []window
	for _, w := range all {
		overlaps := func(o window) bool { return w.from.Before(o.to) && o.from.Before(w.to) }
		if len(out) < windowsMost && !slices.ContainsFunc(out, overlaps) {
			out = append(out, w)
		}
	}
	return out
}
