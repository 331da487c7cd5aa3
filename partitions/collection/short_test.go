package collection_test

import "testing"

// short reports whether long tests are left out. The race detector makes them ten times as slow;
// make soak runs them.
func short() bool { return testing.Short() || raceEnabled }

// stride is the distance of the requests that tests try.
func stride() int {
	if short() {
		return 4
	}
	return 1
}
