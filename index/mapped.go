package index

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"strconv"
	"sync"
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
	memory  fileMemory
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
	n, err := m.memory.read()
	if err == nil && n > mostMapped {
		err = z.ReleasePages()
	}
	if err != nil && !m.failed.Swap(true) {
		log.Warn("the memory for the files of the index is not bounded", "err", err)
	}
}

// fileMemory reads how much file-backed memory this process has. It keeps its file open: opening
// it takes longer than reading it.
type fileMemory struct {
	mu   sync.Mutex
	file *os.File // nil: not open yet
	text [128]byte
}

// read returns the number of bytes (proc(5), statm: shared).
func (f *fileMemory) read() (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		file, err := os.Open("/proc/self/statm")
		if err != nil {
			return 0, err
		}
		f.file = file
	}
	n, err := f.file.ReadAt(f.text[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	_, rest, _ := bytes.Cut(f.text[:n], []byte(" "))
	_, rest, _ = bytes.Cut(rest, []byte(" "))
	shared, _, ok := bytes.Cut(rest, []byte(" "))
	if !ok {
		return 0, strconv.ErrSyntax
	}
	pages, err := strconv.ParseInt(string(shared), 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// close closes the file.
func (f *fileMemory) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}
