package history

import (
	"slices"
	"testing"
)

// The table finds every block with the prefix, the newest first, and each one once.
func TestPrefixTable(t *testing.T) {
	var table prefixTable
	add := func(prefix uint64, position int) { table.add(prefix, position) }
	add(7<<40, 1)
	add(7<<40, 3)
	add(7<<40, 3)
	add(8<<40, 2)
	if got := table.find(7 << 40); !slices.Equal(got, []int{3, 1}) {
		t.Error(got)
	}
	add(7<<40, maxPosition)
	add(7<<40, 0)
	if got := table.find(7 << 40); !slices.Equal(got, []int{maxPosition, 3, 1, 0}) {
		t.Error(got)
	}
	if got := table.find(9 << 40); got != nil {
		t.Error(got)
	}
}
