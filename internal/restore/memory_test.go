package restore_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/restore"
	"github.com/cyrusbackup/backupd/internal/restore/restoretest"
)

// A restore of five times as many messages takes no more memory, apart from a few bytes for each
// message that is chosen.
func TestMemoryDoesNotGrowWithMessages(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("a hundred thousand records")
	}
	const few, many, each = 20_000, 100_000, 40
	small, large := mostHeap(t, few), mostHeap(t, many)
	t.Logf("%d bytes for %d messages, %d for %d", small, few, large, many)
	if most := small + (many-few)*each; large > most {
		t.Errorf("%d bytes of heap for %d messages, but %d for %d: want at most %d", small, few, large, many, most)
	}
}

// mostHeap restores n messages, and returns by how much the heap in use grows meanwhile. The
// messages have few different bodies, so that the store in memory is small.
func mostHeap(t *testing.T, n int) int64 {
	b := restoretest.New(t, "anne")
	box := b.Box("user.anne")
	for i := range n {
		box.Deliver(restoretest.Mail(fmt.Sprint(i%100)), 1600000000)
	}
	b.Sync()
	before, most, seen := heapInUse(), int64(0), 0
	src := b.Source(time.Time{})
	sel, err := src.Select(restore.Options{All: true})
	if err != nil {
		t.Fatal(err)
	}
	f := sel.Folders[0]
	for l := range src.LoadMessages(t.Context(), func(yield func(*restore.Message) bool) {
		for _, ref := range f.Messages {
			if m, err := src.Message(ref); err != nil || !yield(m) {
				return
			}
		}
	}) {
		if l.Err != nil || l.Body.Close() != nil {
			t.Fatal(l.Err)
		}
		if seen++; seen%(n/10) == 0 {
			most = max(most, heapInUse()-before)
		}
	}
	if seen != n {
		t.Fatalf("%d messages, want %d", seen, n)
	}
	runtime.KeepAlive(sel)
	return most
}

func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
