package history

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"

	"github.com/cyrusbackup/backupd/objstore"
)

// countingStore counts requests for objects, and the bytes in the answers.
type countingStore struct {
	objstore.Store
	gets, bytes atomic.Int64
}

func (s *countingStore) Get(ctx context.Context, key string, off, n int64) (*objstore.Object, error) {
	s.gets.Add(1)
	o, err := s.Store.Get(ctx, key, off, n)
	if err == nil {
		read := o.Size - off
		if n >= 0 {
			read = min(n, read)
		}
		s.bytes.Add(read)
	}
	return o, err
}

// uploaded makes a checkpoint of n messages, and returns its state.
func uploaded(t *testing.T, n uint32) (*writer, *countingStore, *Mem) {
	w := newWriter(t)
	w.upload(n)
	_, err := w.load(Moment{}).WriteCheckpoint(t.Context(), w.options())
	w.must(err)
	s := &countingStore{Store: w.store}
	m, err := LoadCheckpoint(t.Context(), s, anne)
	w.must(err)
	t.Cleanup(func() { w.must(m.Close()) })
	return w, s, m
}

// Sequences of blocks that take turns, as in a rebuild, read ahead, but each only its own blocks.
// They yield every line once, in order.
func TestReadSideBySide(t *testing.T) {
	const n = 4 * linesPerBlock
	w, s, m := uploaded(t, n)
	before, stored := s.gets.Load(), int64(0)
	for info, err := range w.store.List(t.Context(), RecordsPrefix(anne), "") {
		w.must(err)
		stored += info.Size
	}
	s.bytes.Store(0)
	place, stopPlaces := iter.Pull2(m.AllPlaces())
	defer stopPlaces()
	rec, stopRecords := iter.Pull2(m.Records("large", 0))
	defer stopRecords()
	i := uint32(0)
	for msg, err := range m.Messages() {
		w.must(err)
		p, err, _ := place()
		w.must(err)
		r, err, _ := rec()
		w.must(err)
		if want := big(i); msg.GUID != want.GUID || msg.Chunks[0] != want.Chunks[0] || p.Chunk != want.Chunks[0] || r.GUID != want.GUID {
			t.Fatalf("message %d: %v, %v, %v", i, msg, p, r)
		}
		i++
	}
	if i != n {
		t.Errorf("%d messages", i)
	}
	if gets := s.gets.Load() - before; gets > 9 {
		t.Errorf("%d requests for 12 blocks", gets)
	}
	if n := s.bytes.Load(); n > stored+stored/10 {
		t.Errorf("%d bytes were read of objects with %d", n, stored)
	}
}

// The blocks of many small mailboxes share requests.
func TestReadManyMailboxes(t *testing.T) {
	const mailboxes, each = 300, 20
	w := newWriter(t)
	for i := range uint32(mailboxes) {
		id := fmt.Sprintf("m%03d", i)
		m, r := &MessagesEvent{}, &RecordsEvent{UniqueID: id}
		for j := range uint32(each) {
			msg := big(i*each + j)
			m.Messages, r.Records = append(m.Messages, msg), append(r.Records, record(j+1, msg.GUID))
		}
		w.commitWith(func(b *Builder) {
			for _, msg := range m.Messages {
				b.Place(Place{Chunk: msg.Chunks[0], Object: PackKey(msg.Chunks[0]), Entry: msg.GUID.String() + ".eml"})
			}
		}, mailbox(id, "user.anne."+id), m, r)
	}
	_, err := w.load(Moment{}).WriteCheckpoint(t.Context(), w.options())
	w.must(err)
	s := &countingStore{Store: w.store}
	m, err := LoadCheckpoint(t.Context(), s, anne)
	w.must(err)
	defer m.Close()
	before, read := s.gets.Load(), 0
	for box, err := range m.Mailboxes() {
		w.must(err)
		for _, err := range m.Records(box.UniqueID, 0) {
			w.must(err)
			read++
		}
	}
	if gets := s.gets.Load() - before; read != mailboxes*each || gets > 40 {
		t.Errorf("%d requests for %d records of %d mailboxes", gets, read, mailboxes)
	}
}

// A loop may change the state, and may end early.
func TestChangeBesideReadAhead(t *testing.T) {
	const n = 4 * linesPerBlock
	w, s, m := uploaded(t, n)
	read := uint32(0)
	for r, err := range m.Records("large", 0) {
		w.must(err)
		read++
		if r.UID%1000 == 1 && r.UID < 3*linesPerBlock { // also in a block that is decoded ahead
			c := *r
			c.UID += linesPerBlock
			c.Flags = []string{"$New"}
			w.must(m.PutRecord("large", &c))
		}
	}
	if read != n {
		t.Errorf("%d records, want %d", read, n)
	}
	for uid := uint32(linesPerBlock + 1); uid < 3*linesPerBlock; uid += 1000 {
		if (uid-linesPerBlock)%1000 != 1 {
			continue
		}
		if r, err := m.Record("large", uid); err != nil || len(r.Flags) != 1 || r.Flags[0] != "$New" {
			t.Errorf("uid %d: %v, %v", uid, r, err)
		}
	}
	read = 0
	for msg, err := range m.Messages() {
		w.must(err)
		if read++; read%5000 == 0 {
			c := *msg
			c.GUID[0] ^= 1
			w.must(m.PutMessage(&c))
		}
	}
	if read < n || read > n+n/5000 {
		t.Errorf("%d messages, want %d and perhaps the new ones", read, n)
	}
	before := s.gets.Load()
	for _, err := range m.Records("large", 3*linesPerBlock+7) {
		w.must(err)
		break
	}
	for _, err := range m.Messages() {
		w.must(err)
		break
	}
	if gets := s.gets.Load() - before; gets > 6 {
		t.Errorf("%d requests for loops that end at once", gets)
	}
}

// A message takes a fraction of an allocation.
func TestAllocationsOfMessageLines(t *testing.T) {
	const n = linesPerBlock
	_, _, m := uploaded(t, n)
	perRun := testing.AllocsPerRun(5, func() {
		for _, err := range m.Messages() {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	if perRun > n/4 {
		t.Errorf("%.0f allocations for %d messages", perRun, n)
	}
}

// Damage in a block is reported with its object, after the lines before it.
func TestDamageInTheMiddleOfBlocks(t *testing.T) {
	const n = 3 * linesPerBlock
	w, _, m := uploaded(t, n)
	m.messages.blocks[2].ref.Count++
	read := 0
	var failed error
	for _, err := range m.Messages() {
		if failed = err; err != nil {
			break
		}
		read++
	}
	if read != 2*linesPerBlock || !IsDamage(failed) {
		t.Errorf("%d messages, then %v", read, failed)
	}
	bad := 0
	w.must(m.CheckBlocks(t.Context(), map[string]bool{}, func(string, error) { bad++ }))
	if bad != 0 {
		t.Errorf("%d blocks are bad", bad) // the hash is right: only the count is not
	}
}
