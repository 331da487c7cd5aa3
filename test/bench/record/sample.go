// Package record holds the figures of a benchmark run, writes them as Markdown tables, and finds
// what became slower between two builds.
package record

import "slices"

// A Sample has the repetitions of one measurement.
type Sample []float64

// Median returns the middle value, or the mean of the two in the middle; 0 if there is none.
func (s Sample) Median() float64 {
	if len(s) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(s))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

// Min returns the lowest value, 0 if there is none.
func (s Sample) Min() float64 {
	if len(s) == 0 {
		return 0
	}
	return slices.Min(s)
}

// Max returns the highest value, 0 if there is none.
func (s Sample) Max() float64 {
	if len(s) == 0 {
		return 0
	}
	return slices.Max(s)
}
