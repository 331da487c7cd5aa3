// Package fuzztest limits what a fuzz target may take for an input. The limits are bytes of memory, not time, because
// a busy machine is slow.
package fuzztest

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// hang is how long an input may take before it counts as endless. It is the last resort: no input takes a hundredth of it.
const hang = 2 * time.Minute

// Within calls fn, and fails the test if fn has allocated more than limit bytes in total, freed ones included. So the
// limit is one of work too: there is little that a parser can repeat without allocating. No other goroutine should
// allocate meanwhile.
func Within(t testing.TB, limit int64, fn func()) {
	t.Helper()
	end := Limit(t, limit)
	defer end()
	fn()
}

// Limit begins what Within limits, and the function that it returns ends it: defer fuzztest.Limit(t, limit)().
func Limit(t testing.TB, limit int64) (end func()) {
	t.Helper()
	// A fuzzing process reports a panic with its input; a test that never ends reports nothing.
	endless := time.AfterFunc(hang, func() { panic(fmt.Sprintf("still running after %s", hang)) })
	before := allocated()
	return func() {
		t.Helper()
		n := allocated() - before
		endless.Stop()
		if n > limit {
			t.Errorf("%d bytes were allocated, want at most %d", n, limit)
		}
	}
}

// allocated returns how many bytes this process has allocated so far.
func allocated() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.TotalAlloc)
}
