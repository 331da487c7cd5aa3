package replication

import (
	"strings"
	"testing"
	"time"
)

// The memory for refusals stays small, whatever names a client uses.
func TestSlowdownMemoryIsLimited(t *testing.T) {
	s := slowdown{now: time.Now, step: delayStep, steps: maxSteps}
	s.refused(strings.Repeat("x", 1<<20))
	for key := range s.seen {
		if len(key) > keyMax {
			t.Errorf("%d bytes are stored", len(key))
		}
	}
}
