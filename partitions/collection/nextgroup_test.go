package collection

import (
	"fmt"
	"math"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
)

// A group is bounded by packs, by the notes that lead to them, and by the bytes that are left.
func TestNextGroup(t *testing.T) {
	var packs []objstore.Info
	for n := range 3000 {
		packs = append(packs, objstore.Info{Key: fmt.Sprintf("%04d", n), Size: 10})
	}
	notes := map[string]int{"1500": 3 * notesAtOnce, "2000": notesAtOnce, "2001": 1}
	var sizes []int
	for rest := packs; len(rest) > 0; {
		var group []objstore.Info
		group, rest = nextGroup(rest, math.MaxInt64, nil, notes)
		sizes = append(sizes, len(group))
	}
	if got, want := fmt.Sprint(sizes), "[1024 476 1 500 999]"; got != want {
		t.Errorf("groups of %s packs, want %s", got, want)
	}
	group, rest := nextGroup(packs[:5], 15, map[string]bool{"0003": true}, nil)
	if len(group) != 3 || group[2].Key != "0003" || len(rest) != 2 {
		t.Errorf("group %v, rest %v", group, rest)
	}
}
