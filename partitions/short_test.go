package partitions_test

import (
	"math/rand/v2"
	"testing"
)

// stride is the distance of the calls at which tests inject faults. The race detector makes these
// tests ten times as slow; make soak tries every call.
func stride() int {
	if testing.Short() || raceEnabled {
		return 5
	}
	return 1
}

// firstCall returns the first call at which to inject a fault: all calls get their turn in some run.
func firstCall() int { return 1 + rand.IntN(stride()) }
