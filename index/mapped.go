package index

import (
	"bytes"
	"log/slog"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2/z"
)

const (
	// mostMapped is how much file-backed memory the process may have, with its own code (about
	// 20 MiB). Badger maps its tables, and would otherwise take as much memory as the index is
	// large.
	mostMapped = 44 << 20
	// mappedPause is the time between two checks, which take a few microseconds.
	mappedPause = 5 * time.Millisecond
	// busyWatch is the time between two checks of the keeper while the index is in use, since
	// Badger's compactions read and write hundreds of megabytes in a second.
	busyWatch = 20 * time.Millisecond
	// busyFor is how long compactions may go on after a transaction.
	busyFor = 2 * time.Second
)

// mappedPages bounds the pages of Badger's files that count as memory of this process. The
// kernel keeps released pages in its cache, so using them again costs no read.
type mappedPages struct {
	used    atomic.Int64 // when the last transaction ended, in nanoseconds
	checked atomic.Int64 // when, in nanoseconds
	failed  atomic.Bool  // logged once
}

// ended bounds the pages at the end of a transaction.
func (m *mappedPages) ended(log *slog.Logger) {
	m.used.Store(time.Now().UnixNano())
	m.bound(log)
}

// watch returns how soon to check again.
func (m *mappedPages) watch(idle time.Duration) time.Duration {
	if time.Now().UnixNano()-m.used.Load() < int64(busyFor) {
		return min(idle, busyWatch)
	}
	return idle
}

// bound releases the pages if there are too many.
func (m *mappedPages) bound(log *slog.Logger) {
	last, now := m.checked.Load(), time.Now().UnixNano()
	if now-last < int64(mappedPause) || !m.checked.CompareAndSwap(last, now) {
		return
	}
	n, err := fileMemory()
	if err == nil && n > mostMapped {
		err = z.ReleasePages()
	}
	if err != nil && !m.failed.Swap(true) {
		log.Warn("the memory for the files of the index is not bounded", "err", err)
	}
}

// fileMemory returns the file-backed memory of this process in bytes (proc(5), statm: shared).
func fileMemory() (int64, error) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	f := bytes.Fields(b)
	if len(f) < 3 {
		return 0, strconv.ErrSyntax
	}
	pages, err := strconv.ParseInt(string(f[2]), 10, 64)
	return pages * int64(os.Getpagesize()), err
}
