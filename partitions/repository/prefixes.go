package repository

import (
	"encoding/binary"
	"slices"
)

// prefixes is a collection of hashes, of which it holds eight bytes each: enough to measure
// a backup, not to decide about its messages.
type prefixes struct{ sorted []uint64 }

// newPrefixes returns an empty collection. room is the expected number of hashes, which may be wrong.
func newPrefixes(room int) *prefixes { return &prefixes{make([]uint64, 0, min(room, 2<<20))} }

func (p *prefixes) add(hash []byte) { p.sorted = append(p.sorted, binary.BigEndian.Uint64(hash)) }

// sort must be called after the last add, and before find and repeated.
func (p *prefixes) sort() { slices.Sort(p.sorted) }

// repeated reports whether a hash was added twice.
func (p *prefixes) repeated() bool {
	for i := 1; i < len(p.sorted); i++ {
		if p.sorted[i] == p.sorted[i-1] {
			return true
		}
	}
	return false
}

// find returns the position of a hash, and how often it was added; 0 = never.
func (p *prefixes) find(hash []byte) (position, n int) {
	x := binary.BigEndian.Uint64(hash)
	i, _ := slices.BinarySearch(p.sorted, x)
	for i+n < len(p.sorted) && p.sorted[i+n] == x {
		n++
	}
	return i, n
}

func (p *prefixes) count(hash []byte) int {
	_, n := p.find(hash)
	return n
}
