package partitions

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// The numbers of packs survive the process and the contents of their partition, and no number
// is used twice.
func TestPackNumbers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "index")
	p, end := openPartition(t, dir)
	packs := [][32]byte{{1}, {2}, {3}}
	first, err := p.numbers.numbersOf(packs)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.set.index.DropPartition("default"); err != nil {
		t.Fatal(err)
	}
	end()
	p, end = openPartition(t, dir)
	defer end()
	again, err := p.numbers.numbersOf([][32]byte{{3}, {4}, {1}})
	if err != nil {
		t.Fatal(err)
	}
	if again[0] != first[2] || again[2] != first[0] {
		t.Errorf("the numbers %v became %v", first, again)
	}
	for _, n := range first {
		if n == again[1] {
			t.Errorf("number %d has two packs", n)
		}
	}
	for number, want := range map[uint64]byte{again[1]: 4, first[1]: 2} {
		if err := p.set.index.View(func(txn *index.Txn) error {
			pack, err := p.numbers.pack(txn, number)
			if pack != [32]byte{want} {
				t.Errorf("pack %x, want %d", pack, want)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	}
}

// A pack can contain a piece of one message that is another message. Its number is not durable
// while it is indexed.
func TestPieceThatIsAMessage(t *testing.T) {
	t.Parallel()
	p := partitionWithIndex(t)
	p.losses.now.Store(&lossCount{Count: 1}) // look at the places that are replaced
	c := history.ChunkID{1}
	chunks := []packedChunk{{id: c, size: 9}, {id: c, guid: cyrus.GUID{2}, size: 9, whole: true}}
	if _, err := p.indexPack(history.PackKey([32]byte{3}), chunks); err != nil {
		t.Fatal(err)
	}
	checkPlace(t, p, cyrus.GUID{2}, c, [32]byte{3})
}

// A backup may name the place of a message as one entry of a pack. The place remains known after
// another host, with another threshold, has stored the message in pieces.
func TestWholeMessageStoredInPieces(t *testing.T) {
	t.Parallel()
	p := partitionWithIndex(t)
	c, g := history.ChunkID{1}, cyrus.GUID{2}
	if _, err := p.indexPack(history.PackKey([32]byte{3}), []packedChunk{{id: c, guid: g, size: 9, whole: true}}); err != nil {
		t.Fatal(err)
	}
	pieces := []history.ChunkID{{4}, {5}}
	if err := p.set.index.UpdateLong(func(txn *index.Txn) error {
		return p.indexPieces(txn, g, shared{size: 9, chunks: pieces})
	}); err != nil {
		t.Fatal(err)
	}
	checkPlace(t, p, g, c, [32]byte{3})
}

func partitionWithIndex(t *testing.T) *Partition {
	t.Helper()
	p, end := openPartition(t, filepath.Join(t.TempDir(), "index"))
	t.Cleanup(end)
	return p
}

// openPartition opens a partition with the index in a directory.
func openPartition(t *testing.T, dir string) (p *Partition, end func()) {
	t.Helper()
	x, err := index.Open(dir, index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(Options{Index: x, Host: "test", Software: "test", NoCheckpoints: true,
		Partitions: []repository.Config{{Name: "default", Location: "test", Store: memstore.New(time.Now)}}})
	if err != nil {
		t.Fatal(err)
	}
	return s.parts[0], func() {
		if err := errors.Join(s.Close(), x.Close()); err != nil {
			t.Error(err)
		}
	}
}

func checkPlace(t *testing.T, p *Partition, of cyrus.GUID, c history.ChunkID, pack [32]byte) {
	t.Helper()
	err := p.set.index.View(func(txn *index.Txn) error {
		at, known, err := p.chunkAt(txn, of, c)
		if !known || at.pack != pack {
			t.Errorf("the place is %+v, known: %v", at, known)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
