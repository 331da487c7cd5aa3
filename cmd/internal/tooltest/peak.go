package tooltest

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// PeakHeap returns the most memory that fn has in use beyond the memory in use before, in bytes. It
// lets the garbage collector run often, so that garbage hardly counts.
func PeakHeap(t *testing.T, fn func()) int64 {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	runtime.GC()
	before, most := heapInUse(), int64(0)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			most = max(most, heapInUse()-before)
			select {
			case <-end:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	fn()
	close(end)
	<-ended
	return most
}

// MostHeap is what commands may have in use for windows, in bytes.
const MostHeap = 40 << 20

// CheckHeap fails if a command needs more than most bytes for windows, and 40 bytes for each of n
// messages.
func CheckHeap(t *testing.T, command string, most int64, n int, fn func() error) {
	t.Helper()
	peak := PeakHeap(t, func() {
		if err := fn(); err != nil {
			t.Error(command, err)
		}
	})
	t.Logf("%s: %.1f MiB for %d messages", command, float64(peak)/(1<<20), n)
	if peak > most+int64(40*n) {
		t.Errorf("%s: %d MiB for %d messages", command, peak>>20, n)
	}
}

func heapInUse() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}

// Race reports whether the race detector is on. It makes everything several times slower.
func Race() bool { return raceDetector }
