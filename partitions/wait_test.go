package partitions_test

import (
	"testing"
	"time"
)

// waitFor polls until a background operation has finished.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("the condition is not true after 20 s")
		}
	}
}
