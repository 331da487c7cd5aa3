package partitions_test

import (
	"testing"
	"time"
)

// waitFor polls until what happens in the background has happened.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("it has not happened in 20 s")
		}
	}
}
