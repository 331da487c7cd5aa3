package history

import (
	"crypto/sha1"
	"fmt"
	"testing"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/memstore"
)

// A lookup looks at the lines that it finds, not at all lines of their block.
func TestFindLooksAtFewLines(t *testing.T) {
	m, err := NewMem(t.Context(), memstore.New(nil), "backups/user/anne")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	const n = 2*linesPerBlock + 100
	guid := func(i int) cyrus.GUID { return sha1.Sum(fmt.Append(nil, i)) }
	for i := range n {
		if err := m.PutMessage(&MessageState{Message: Message{GUID: guid(i), Size: int64(i), Chunks: []ChunkID{{byte(i)}}}}); err != nil {
			t.Fatal(err)
		}
	}
	looks, prefix := 0, m.messages.prefix
	m.messages.prefix = func(s *MessageState) uint64 { looks++; return prefix(s) }
	for i := range n {
		if s, err := m.Message(guid(i)); err != nil || s == nil || s.Size != int64(i) {
			t.Fatalf("message %d: %+v, %v", i, s, err)
		}
	}
	if looks > 4*n {
		t.Errorf("%d lookups looked at %d lines, want at most %d", n, looks, 4*n)
	}
}
