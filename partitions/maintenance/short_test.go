package maintenance_test

import "testing"

// short reports whether tests that try every request try only some. The race detector makes them
// ten times as slow; make soak runs them whole.
func short() bool { return testing.Short() || raceEnabled }
