package maintenance

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/memstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// The notes that the backups of a partition share are read once, in whatever order the backups name the packs.
func TestRelocateReadsNotesOnce(t *testing.T) {
	const packs, backups = 200, 10
	at := time.Date(2026, 2, 1, 8, 0, 0, 0, time.UTC)
	s := memstore.New(func() time.Time { return at })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	name := func(i int) string { return fmt.Sprintf("%040x.eml", i) }
	p := pack.NewWriter(nil, pack.Options{})
	for i := range packs {
		must(p.Add(name(i), fmt.Append(nil, "body ", i)))
	}
	object, err := p.Finish()
	must(err)
	now := history.PackKey(sha256.Sum256(object))
	_, err = s.Put(t.Context(), now, bytes.NewReader(object), objstore.PutOptions{})
	must(err)
	former := func(i int) string { return history.PackKey(sha256.Sum256(fmt.Append(nil, i))) }
	for i := range packs {
		if i%10 != 9 { // the others have no note
			must(repository.NoteMoved(t.Context(), s, false, at, former(i), []string{name(i)}, now))
		}
	}
	requests := map[string]int{}
	s.SetFaults(func(_, key string) error {
		folder, _, _ := strings.Cut(key, "/")
		requests[folder]++
		return nil
	}, nil)
	moved := NewMoved(s, func(string) bool { return true })
	for range backups {
		moved.begin()
		for i := range packs {
			at, err := moved.now(t.Context(), history.Place{Object: former(i), Entry: name(i)})
			if want := i%10 != 9; err != nil || want != (at.Object == now) {
				t.Fatalf("%d: %v, %v", i, at, err)
			}
		}
	}
	if requests["moved"] > packs || requests["packs"] > packs+5 {
		t.Errorf("requests: %v", requests)
	}
}

// Notes that take more memory than allowed are dropped, the one that was used least recently first.
func TestNotesAreBounded(t *testing.T) {
	const entries = 100
	n := newNotes(10 * (entries*noteEntryBytes + 2*notePackBytes))
	m := &history.Moved{Entries: map[string]string{}}
	for i := range entries {
		m.Entries[fmt.Sprint(i)] = "packs/now"
	}
	for i := range 50 {
		n.add(fmt.Sprint(i), m)
		if _, known := n.find("0"); !known {
			t.Fatalf("the note that is used most is dropped after %d", i)
		}
	}
	if _, known := n.find("20"); known || n.bytes > n.most || len(n.byPack) != 10 || n.recent.Len() != 10 {
		t.Errorf("%d notes, %d bytes", len(n.byPack), n.bytes)
	}
}
