package partitions_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// heldSize is what a session counts for a held backup (session/nameless.go).
func heldSize(name string) int { return 1250 + len(name) + len(name)/4 }

// A held name takes as much memory as the session counts for it: with its handle, and the places in the maps of the
// session and the Set.
func TestMemoryOfHeldNames(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory, too")
	}
	const clients, all = 40, 400 << 10
	h := newHostWith(t, shortWait, newStore())
	for _, length := range []int{8, 100, 1000, 4000} {
		name := strings.Repeat("x", length)
		count := heldSize(name)
		before, held := heap(), 0
		var list []*client
		for n := range clients {
			c := h.client()
			list = append(list, c)
			for i := range all / count {
				held++
				if err := c.s.GetQuota(t.Context(), fmt.Sprintf("user.%s%02d%03d", name[5:], n, i), nowhere); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := h.set.Handles(); n != held {
			t.Fatalf("%d handles, want %d", n, held)
		}
		is := (heap() - before) / held
		if is > count*103/100 || is < count*3/4 {
			t.Errorf("a name of %d bytes takes %d bytes, and counts as %d", length, is, count)
		}
		for _, c := range list {
			c.s.Close()
		}
	}
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what a pool has kept
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
