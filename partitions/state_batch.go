package partitions

import (
	"bytes"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/indexvalue"
)

// sparse is how many entries a range may contain for each wanted entry.
const sparse = 4

// message reads a message into m. It uses m.Chunks if it is large enough.
func (s *State) message(g cyrus.GUID, m *history.MessageState) (bool, error) {
	return s.read(index.MessageKey(s.id, g[:]), func(b []byte) error { return indexvalue.ParseMessage(b, g, m) })
}

// firstEntries is how many entries of a range are read before its density is judged.
const firstEntries = 64

// eachMessage reads the messages of the backup in the order of their GUIDs, as long as enough
// of them are wanted: a backup with few messages costs no lookups. todo are the positions of
// the wanted GUIDs in ascending order. It calls fn with the value of each that exists. The
// first done of todo are then decided.
func (s *State) eachMessage(guids []cyrus.GUID, todo []int32, fn func(i int32, value []byte) error) (done int, err error) {
	read := 0
	for kv, err := range s.t.Range(index.MessageKey(s.id, nil), index.MessageKey(s.id, guids[todo[0]][:])) {
		if err != nil {
			return done, err
		}
		g := index.GUIDOf(kv.Key)
		for done < len(todo) && bytes.Compare(guids[todo[done]][:], g[:]) < 0 {
			done++
		}
		for done < len(todo) && guids[todo[done]] == g {
			if err := fn(todo[done], kv.Value); err != nil {
				return done, err
			}
			done++
		}
		if read++; done == len(todo) || read > firstEntries && done*sparse < read {
			return done, nil
		}
	}
	return len(todo), nil
}
