package history

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyrusbackup/backupd/internal/cyrus"
)

// LogPlaces leaves out the places in packs, and no others.
func TestLogPlaces(t *testing.T) {
	w := newWriter(t)
	b := NewBuilder(w.header(), w.options())
	body := text(1, 200)
	m := message(body)
	entry := m.GUID.String() + ".eml"
	b.Inline(entry, body)
	b.Place(Place{Chunk: ChunkID{1}, Object: PackKey([32]byte{1}), Entry: cyrus.GUID{1}.String() + ".eml"})
	b.Place(Place{Chunk: m.Chunks[0], Object: ".", Entry: entry})
	b.Place(Place{Chunk: ChunkID{2}, Object: PackKey([32]byte{2}), Entry: ChunkID{2}.String() + ".part"})
	others := []Place{
		{Chunk: m.Chunks[0], Object: LogKey(anne, 1), Entry: entry},
		{Chunk: ChunkID{3}, Object: LogKey(anne, 7), Entry: ChunkID{3}.String() + ".part"},
		{Chunk: ChunkID{4}, Object: "packs/ab/abcd.tar.zst", Entry: entry}, // not the key of a pack
	}
	for _, p := range others[1:] {
		b.Place(p)
	}
	if err := b.Event(&MessagesEvent{Messages: []Message{m}}); err != nil {
		t.Fatal(err)
	}
	object, _, err := b.Finish(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.put(LogKey(anne, 1), object)
	var got []Place
	err = ReadCommit(t.Context(), w.store, anne, 1, func(c *CommitReader) error {
		for p, err := range c.LogPlaces() {
			if err != nil {
				return err
			}
			got = append(got, p)
		}
		return nil
	})
	if d := cmp.Diff(others, got); err != nil || d != "" {
		t.Errorf("%v (-want +got)\n%s", err, d)
	}
}

// A line about a pack is recognized without memory.
func TestIsInPack(t *testing.T) {
	p := Place{Chunk: ChunkID{1}, Object: PackKey([32]byte{1}), Entry: cyrus.GUID{1}.String() + ".eml"}
	line := p.append(nil)
	if n := testing.AllocsPerRun(10, func() {
		if !isInPack(line) {
			t.Fatal("a place in a pack is not recognized")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	for n := range slices.Index(line, '.') + len(objectSuffix) {
		if isInPack(line[:n]) {
			t.Fatalf("the first %d bytes are recognized", n)
		}
	}
}
