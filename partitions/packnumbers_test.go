package partitions

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// The numbers of packs survive the process and the contents of their partition, and no number
// is used twice.
func TestPackNumbers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "index")
	open := func() (*Partition, func()) {
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
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := x.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	p, end := open()
	packs := [][32]byte{{1}, {2}, {3}}
	first, err := p.numbers.numbersOf(packs)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.set.index.DropPartition("default"); err != nil {
		t.Fatal(err)
	}
	end()
	p, end = open()
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
	if pack, err := p.numbers.pack(again[1]); err != nil || pack != [32]byte{4} {
		t.Errorf("pack %x, %v", pack, err)
	}
	if pack, err := p.numbers.pack(first[1]); err != nil || pack != [32]byte{2} {
		t.Errorf("pack %x, %v", pack, err)
	}
}
