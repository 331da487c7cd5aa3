package history

import (
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
)

// goldenErased is a repository of version 3, with erased messages. As golden, it does not change.
const goldenErased = "testdata/golden/v3"

// testErasure is the id of an erasure.
const testErasure = "00112233445566778899aabbccddeeff"

func TestGoldenErased(t *testing.T) {
	if _, err := os.Stat(goldenErased); errors.Is(err, fs.ErrNotExist) && *update {
		writeTree(t, goldenErased, erasedRepository(t))
	}
	w := readTree(t, goldenErased)
	w.compareDumps("v3", map[string]Moment{"commit-01": {Number: 1}, "commit-02": {Number: 2}, "commit-04": {Number: 4}, "newest": {}, "newest-from-log": {FromLog: true}})
}

// erasedRepository has two erased messages: one was inline, and one in a pack. The former has arrived again. The
// erased places are in a segment, and in a checkpoint of a moment before the event.
func erasedRepository(t *testing.T) *writer {
	w := newWriter(t)
	w.store = memstore.New(func() time.Time { return noon })
	packed, stays, inline := message(text(1, 300)), message(text(2, 300)), message(text(3, 300))
	entry := func(m Message) string { return m.GUID.String() + ".eml" }
	key := w.packOf(map[string][]byte{entry(packed): text(1, 300), entry(stays): text(2, 300)}, entry(packed), entry(stays))
	body := func(b *Builder) {
		b.Place(Place{Chunk: inline.Chunks[0], Object: ".", Entry: entry(inline)})
		b.Inline(entry(inline), text(3, 300))
	}
	w.commitWith(func(b *Builder) {
		b.Place(Place{Chunk: packed.Chunks[0], Object: key, Entry: entry(packed)})
		b.Place(Place{Chunk: stays.Chunks[0], Object: key, Entry: entry(stays)})
		body(b)
	}, mailbox("inbox-id", "user.anne"), &MessagesEvent{Messages: []Message{packed, stays, inline}},
		records("inbox-id", record(1, packed.GUID), record(2, stays.GUID), record(3, inline.GUID)))
	w.commit(&ExpungeEvent{UniqueID: "inbox-id", UIDs: []uint32{1, 3}})
	w.commit(&ErasedEvent{Erasure: testErasure, Messages: []cyrus.GUID{packed.GUID, inline.GUID}})
	at := w.tip.Time
	erased := func(p Place) (Place, error) {
		if p.Chunk == stays.Chunks[0] {
			return p, nil
		}
		return ErasedPlace(p.Chunk, at), nil
	}
	w.merge(1, 2, erased)
	m := w.load(Moment{Number: 2})
	if _, err := m.WriteCheckpoint(t.Context(), w.options()); err != nil {
		t.Fatal(err)
	}
	w.delete(key)
	fresh := w.packOf(map[string][]byte{entry(stays): text(2, 300)}, entry(stays))
	note := Moved{Version: Version, Pack: key, Time: noon.Add(time.Hour), Entries: map[string]string{entry(stays): fresh}}
	b, err := note.Append(nil)
	w.must(err)
	moved, _ := MovedKey(key)
	w.put(moved, b)
	w.checkpoint()
	w.commitWith(body, &MessagesEvent{Messages: []Message{inline}}, records("inbox-id", record(4, inline.GUID)))
	return w
}
