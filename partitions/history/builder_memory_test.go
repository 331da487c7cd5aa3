package history

import (
	"runtime"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/pack"
)

// A commit of as many messages as it takes allocates its lines about once. Memory that grows with
// append takes five times as much.
func TestBuilderAllocatesItsLinesOnce(t *testing.T) {
	const messages = MaxRecordsPerCommit / 4
	list := make([]Message, MaxMessagesPerEvent)
	place := Place{Object: PackKey([32]byte{1}), Entry: pack.MessageName(cyrus.GUID{1}).String()}
	for i := range list {
		list[i] = Message{GUID: cyrus.GUID{1, byte(i), byte(i >> 8)}, Size: 5000, Chunks: []ChunkID{{byte(i)}}}
	}
	b := NewBuilder(Header{}, pack.Options{})
	n := allocated(func() {
		b.Expect(messages)
		for range messages / len(list) {
			if err := b.Event(&MessagesEvent{Messages: list}); err != nil {
				t.Fatal(err)
			}
			for range list {
				b.Place(place)
			}
		}
	})
	if size := len(b.events) + len(b.places); n > uint64(size)*5/4 {
		t.Errorf("%d bytes of lines take %d bytes of memory", size, n)
	}
}

// The number of records is not known before. Their memory doubles.
func TestBuilderDoublesItsMemory(t *testing.T) {
	value := "1"
	r := &cyrus.Record{ModSeq: 1, LastUpdated: 1700000000, InternalDate: 1700000000, Flags: []string{`\Seen`}, Size: 5000,
		Annotations: []cyrus.Annotation{{Entry: "/vendor/cmu/cyrus-imapd/savedate", Value: &value}}}
	b := NewBuilder(Header{}, pack.Options{})
	n := allocated(func() {
		for r.UID = 1; r.UID <= MaxRecordsPerCommit*3/16; r.UID++ {
			if err := b.Record("b1", r); err != nil {
				t.Fatal(err)
			}
		}
	})
	if size := len(b.events); n > uint64(size)*4 { // 5 times with append
		t.Errorf("%d bytes of records take %d bytes of memory", size, n)
	}
}

// allocated returns how many bytes fn allocates.
func allocated(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
