package history

import (
	"crypto/sha1"
	"fmt"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
)

// A set has each message once, also those that agree in the bits of the table.
func TestMessageSet(t *testing.T) {
	m, err := NewMem(t.Context(), memstore.New(nil), "backups/user/anne")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	guids := []cyrus.GUID{{1, 2, 3, 4, 5, 6: 1}, {1, 2, 3, 4, 5, 6: 2}, {1, 2, 3, 4, 5, 6: 2, 19: 1}}
	for i := range 2*linesPerBlock + 100 {
		guids = append(guids, sha1.Sum(fmt.Append(nil, i)))
	}
	for _, g := range guids {
		if err := m.PutMessage(&MessageState{Message: Message{GUID: g, Chunks: []ChunkID{{1}}}}); err != nil {
			t.Fatal(err)
		}
	}
	s, err := m.NewMessageSet()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range guids {
		if !s.Add(g) {
			t.Errorf("%s is in the set, but was not added", g)
		}
	}
	for _, g := range guids {
		if s.Add(g) {
			t.Errorf("%s was added twice", g)
		}
	}
	if s.Add(cyrus.GUID{9}) {
		t.Error("a message that the state lacks was added")
	}
	if n := len(s.exact); n > 10 {
		t.Errorf("%d of %d messages take more than a bit", n, len(guids))
	}
}
