package partitions

import (
	"testing"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// Messages and places meet in any order. A message of several pieces finds a piece whose
// bytes are also a whole message.
func TestPlacer(t *testing.T) {
	whole := history.Message{GUID: cyrus.GUID{1}, Size: 10, Chunks: []history.ChunkID{{1}}}
	large := history.Message{GUID: cyrus.GUID{2}, Size: 30, Chunks: []history.ChunkID{{1}, {2}}}
	private := history.Message{GUID: cyrus.GUID{3}, Size: 10, Chunks: []history.ChunkID{{3}}, Private: true}
	messages := []history.Message{whole, large, private}
	places := []history.Place{
		chunkPlace{pack: [32]byte{9}, guid: whole.GUID, whole: true}.place(whole.Chunks[0]),
		chunkPlace{pack: [32]byte{8}}.place(large.Chunks[1]),
		chunkPlace{pack: [32]byte{8}}.place(private.Chunks[0]),
	}
	again := func(yield func(history.Place, error) bool) {
		for _, p := range places {
			if !yield(p, nil) {
				return
			}
		}
	}
	for name, order := range map[string][]int{
		"messages first": {0, 1, 2, 10, 11, 12}, "places first": {10, 11, 12, 0, 1, 2}, "mixed": {0, 10, 11, 1, 12, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newRebuilt(t, 0, false)
			defer w.close(t)
			part := w.set.parts[0]
			err := w.index.UpdateLong(func(txn *index.Txn) error {
				st := &State{set: w.set, t: txn, id: 7, path: "user/anne", part: part}
				p := st.placer()
				for _, i := range order {
					if i >= 10 {
						if err := p.place(places[i-10]); err != nil {
							return err
						}
						if err := p.flush(); err != nil { // as a full queue does
							return err
						}
						continue
					}
					if err := st.PutMessage(&history.MessageState{Message: messages[i], Commit: 1}); err != nil {
						return err
					}
					if err := p.message(&messages[i]); err != nil {
						return err
					}
				}
				return p.end(again)
			})
			if err != nil {
				t.Fatal(err)
			}
			checkPlaced(t, w, messages, places)
		})
	}
}

func checkPlaced(t *testing.T, w *rebuilt, messages []history.Message, places []history.Place) {
	t.Helper()
	part := w.set.parts[0]
	err := w.index.View(func(txn *index.Txn) error {
		st := &State{set: w.set, t: txn, id: 7, path: "user/anne", part: part}
		for i, m := range messages {
			for _, c := range m.Chunks {
				p, err := st.place(&history.MessageState{Message: m}, c)
				if err != nil {
					t.Errorf("message %d: %v", i, err)
				}
				want := places[c[0]-1]
				if p != want {
					t.Errorf("message %d: chunk %x is at %v, want %v", i, c[0], p, want)
				}
			}
			s, ok, err := part.lookupShared(txn, m.GUID)
			if err != nil || ok == m.Private || ok && s.size != m.Size {
				t.Errorf("message %d is shared: %t %v, %v", i, ok, s, err)
			}
			if (s.pack != 0) != (i == 0) {
				t.Errorf("message %d has pack %d", i, s.pack)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
