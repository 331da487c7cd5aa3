package history

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// big returns a message without a body in any pack.
func big(n uint32) Message {
	b := binary.BigEndian.AppendUint32(nil, n)
	return Message{GUID: sha1.Sum(b), Size: 4000, Chunks: []ChunkID{sha256.Sum256(b)}}
}

// upload makes the log of a first upload of n messages, with record blocks.
func (w *writer) upload(n uint32) {
	w.t.Helper()
	w.commit(mailbox("large", "user.anne"))
	const step = 65536
	for first := uint32(0); first < n; first += step {
		last := min(first+step, n)
		blocks := NewRecordBlockWriter(w.store, anne, w.options())
		b := NewBuilder(w.header(), w.options())
		e := &MessagesEvent{}
		for i := first; i < last; i++ {
			m := big(i)
			e.Messages = append(e.Messages, m)
			b.Place(Place{Chunk: m.Chunks[0], Object: fmt.Sprintf("packs/ab/%x.tar.zst", sha256.Sum256([]byte{byte(i >> 12)})), Entry: m.GUID.String() + ".eml"})
			if len(e.Messages) == MaxMessagesPerEvent || i+1 == last {
				w.must(b.Event(e))
				e.Messages = e.Messages[:0]
			}
			w.must(blocks.Add(w.t.Context(), record(i+1, m.GUID, `\Seen`, "$Label1")))
		}
		refs, err := blocks.Finish(w.t.Context())
		w.must(err)
		w.must(b.Event(&RecordBlocksEvent{UniqueID: "large", Blocks: refs}))
		object, hash, err := b.Finish(nil)
		w.must(err)
		w.put(LogKey(anne, b.Header().Number), object)
		w.tip = Tip{Number: b.Header().Number, Hash: fmt.Sprintf("%x", hash), Time: b.Header().Time}
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // the first one only ages the contents of a sync.Pool
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// Replaying and reading a large mailbox takes a limited amount of memory.
func TestMemoryForLargeMailbox(t *testing.T) {
	n := uint32(70_000) // records
	if raceEnabled {
		n = 10_000
	}
	w := newWriter(t)
	w.upload(n)
	before := heap()
	m := w.load(Moment{})
	if used := heap() - before; used > 32<<20 {
		t.Errorf("%d MiB in use after replaying %d records", used>>20, n)
	}
	if b := box(t, m, "large"); b.Live != int(n) || b.TopUID != n {
		t.Errorf("%+v", b)
	}
	_, err := m.WriteCheckpoint(t.Context(), w.options())
	w.must(err)
	before = heap()
	m = w.load(Moment{})
	read := 0
	var last *RecordState
	for r, err := range m.Records("large", 0) {
		w.must(err)
		read++
		last = r
	}
	if used := heap() - before; used > 16<<20 || read != int(n) || last.UID != n {
		t.Errorf("%d MiB in use after reading %d records", used>>20, read)
	}
	if s, err := m.Message(big(77).GUID); err != nil || s == nil || s.Chunks[0] != big(77).Chunks[0] {
		t.Error(s, err)
	}
	if p, err := m.Places(big(n - 1).Chunks[0]); err != nil || len(p) != 1 {
		t.Error(p, err)
	}
	runtime.KeepAlive(m)
}

func BenchmarkParseRecords(b *testing.B) {
	e := &RecordsEvent{UniqueID: "large"}
	for i := range uint32(MaxRecordsPerEvent) {
		e.Records = append(e.Records, record(i+1, big(i).GUID, `\Seen`, "$Label1"))
	}
	line, err := AppendEvent(nil, e)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if _, err := ParseEvent(line); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFirstUpload(b *testing.B) {
	var list []*cyrus.Record
	for i := range uint32(MaxRecordsPerEvent) {
		list = append(list, record(i+1, big(i).GUID, `\Seen`))
	}
	m, err := NewMem(b.Context(), nil, anne)
	if err != nil {
		b.Fatal(err)
	}
	rp := Replayer{State: m}
	if err := rp.Apply(Header{Number: 1, Time: noon}, mailbox("large", "user.anne")); err != nil {
		b.Fatal(err)
	}
	uid := uint32(0)
	for b.Loop() {
		e := &RecordsEvent{UniqueID: "large"}
		for _, r := range list {
			c := *r
			uid++
			c.UID = uid
			e.Records = append(e.Records, &c)
		}
		if err := rp.Apply(Header{Number: 2, Time: noon}, e); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(uid), "ns/record")
}
