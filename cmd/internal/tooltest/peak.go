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

func heapInUse() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}

// Race reports whether the race detector is on. It makes everything several times slower.
func Race() bool { return raceDetector }
