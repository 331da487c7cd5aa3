package history

import "slices"

// prefixTable finds the block of a line by the first bytes of its hash. It takes eight bytes
// of memory for each line: 38 bits of the hash, and the position of the block. Two lines
// with equal bits are rare, and only cost a look into one block more.
type prefixTable struct {
	entries []uint64
	sorted  bool
}

const (
	positionBits = 26
	maxPosition  = 1<<positionBits - 1
)

// entry orders by hash, and lines with equal bits by descending position.
func tableEntry(prefix uint64, position int) uint64 {
	return prefix&^maxPosition | uint64(maxPosition-position)
}

func (t *prefixTable) add(prefix uint64, position int) {
	t.entries = append(t.entries, tableEntry(prefix, position))
	t.sorted = false
}

func (t *prefixTable) sort() {
	if !t.sorted {
		slices.Sort(t.entries)
		t.sorted = true
	}
}

// find returns the positions of the blocks that may have a line with the prefix, the highest
// first, each one once.
func (t *prefixTable) find(prefix uint64) (positions []int) {
	t.sort()
	i, _ := slices.BinarySearch(t.entries, prefix&^maxPosition)
	for ; i < len(t.entries) && t.entries[i]&^maxPosition == prefix&^maxPosition; i++ {
		p := maxPosition - int(t.entries[i]&maxPosition)
		if n := len(positions); n == 0 || positions[n-1] != p {
			positions = append(positions, p)
		}
	}
	return positions
}

// repeated returns the hashes of more than one line, as entries for maxPosition.
func (t *prefixTable) repeated() map[uint64]bool {
	t.sort()
	out := map[uint64]bool{}
	for i := 1; i < len(t.entries); i++ {
		if hash := t.entries[i] &^ maxPosition; hash == t.entries[i-1]&^maxPosition {
			out[hash] = true
		}
	}
	return out
}
