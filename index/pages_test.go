package index_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/ristretto/v2/z"
)

// Badger fills a table in memory of twice its size. This memory must not wait for a garbage
// collection, and the unused half must not be resident.
func TestTablesAreFilledOutsideOfTheHeap(t *testing.T) {
	const size = 64 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	a := z.NewAllocator(size, "test")
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > size/16 {
		t.Errorf("the heap has %d KiB more", n>>10)
	}
	first := a.Allocate(size / 2)
	for i := range first {
		first[i] = 1
	}
	if n := resident(t, first, "Rss:"); n < size/2 || n > size*3/4 { // a neighbour may count as well
		t.Errorf("%d KiB are resident of %d, of which half is in use", n>>10, size>>10)
	}
	at := mappingOf(first)
	a.Release()
	if n := residentAt(t, at, "Rss:"); n > size/8 {
		t.Errorf("%d KiB are resident after the release", n>>10)
	}
}

// A new table must not stay in the memory of the process until the next check.
func TestNewTablesAreNotResident(t *testing.T) {
	const size = 16 << 20
	m, err := z.OpenMmapFile(filepath.Join(t.TempDir(), "table"), os.O_CREATE|os.O_RDWR|os.O_EXCL, size)
	if !errors.Is(err, z.NewFile) {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Delete(); err != nil {
			t.Error(err)
		}
	}()
	want := bytes.Repeat([]byte("table"), size/5)
	copy(m.Data, want)
	if err := z.Msync(m.Data); err != nil {
		t.Fatal(err)
	}
	if n := resident(t, m.Data, "Rss:"); n > 1<<20 {
		t.Errorf("%d KiB are resident", n>>10)
	}
	if !bytes.HasPrefix(m.Data, want) {
		t.Error("the table has changed")
	}
}

// resident returns a figure in bytes of the mapping that contains b (proc(5), smaps).
func resident(t *testing.T, b []byte, field string) int64 {
	t.Helper()
	n := residentAt(t, mappingOf(b), field)
	if n < 0 {
		t.Fatal("there is no such mapping")
	}
	return n
}

func mappingOf(b []byte) uint64 {
	var at uint64
	_, _ = fmt.Sscanf(fmt.Sprintf("%p", b), "0x%x", &at)
	return at
}

// residentAt returns -1 if nothing is mapped there.
func residentAt(t *testing.T, at uint64, field string) int64 {
	t.Helper()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	inside := false
	for line := range strings.Lines(string(smaps)) {
		var from, to uint64
		if n, _ := fmt.Sscanf(line, "%x-%x ", &from, &to); n == 2 {
			inside = from <= at && at < to
		}
		if rest, ok := strings.CutPrefix(line, field); ok && inside {
			var kib int64
			_, _ = fmt.Sscan(rest, &kib)
			return kib << 10
		}
	}
	return -1
}

// A compaction writes its tables in the background. They must not pile up in memory.
func TestFewTablesAreFilledAtATime(t *testing.T) {
	const most = 4
	pool := z.NewAllocatorPool(8)
	defer pool.Release()
	var used []*z.Allocator
	for range most {
		used = append(used, pool.Get(1<<20, "test"))
	}
	got := make(chan *z.Allocator)
	go func() { got <- pool.Get(1<<20, "test") }()
	select {
	case <-got:
		t.Fatal("more are in use")
	case <-time.After(20 * time.Millisecond):
	}
	for _, a := range used {
		pool.Return(a)
	}
	pool.Return(<-got)
}
