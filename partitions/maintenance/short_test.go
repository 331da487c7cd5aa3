package maintenance_test

import (
	"math/rand/v2"
	"testing"
)

// short reports whether tests that try every request try only some. The race detector makes them
// ten times as slow; make soak runs them whole.
func short() bool { return testing.Short() || raceEnabled }

// every returns the request to begin with, and the distance of the requests, for tests that try every
// n-th request with the race detector. All requests get their turn in some run.
func every(n int) (first, step int) {
	if short() {
		return rand.IntN(n), n
	}
	return 0, 1
}
