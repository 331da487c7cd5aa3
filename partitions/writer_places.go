package partitions

import (
	"fmt"
	"strings"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// placeLookup finds the places of chunks for a commit, each once.
type placeLookup struct {
	part    *Partition
	t       *index.Txn
	said    map[history.ChunkID]struct{}
	objects map[uint64]string // keys of packs, by number
	at      []history.Place
	entries strings.Builder // the names of entries in at, many in one allocation
}

// indexed returns where the index has the chunks of new messages that are not inline. It looks
// them up in the order of the GUIDs and returns them in the order of the messages.
func (w *Writer) indexed(l *placeLookup, inline map[cyrus.GUID]struct{}) ([]history.Place, error) {
	w.checkPacks()
	guids := make([]cyrus.GUID, len(w.news))
	for i := range w.news {
		guids[i] = w.news[i].GUID
	}
	l.at = make([]history.Place, 0, len(w.news))
	parts := make([][2]int, len(w.news)) // of l.at
	for _, i := range inOrder(guids) {
		if _, in := inline[guids[i]]; in {
			continue
		}
		from := len(l.at)
		if err := l.add(&w.news[i], w.known[guids[i]]); err != nil {
			return nil, err
		}
		parts[i] = [2]int{from, len(l.at)}
	}
	all := make([]history.Place, 0, len(l.at))
	for _, p := range parts {
		all = append(all, l.at[p[0]:p[1]]...)
	}
	return all, nil
}

// add adds the places of a message's chunks. pack is the pack that contains it as one entry,
// 0 if that is not known.
func (l *placeLookup) add(m *history.Message, pack uint64) error {
	for _, c := range m.Chunks {
		if _, twice := l.said[c]; twice {
			continue
		}
		l.said[c] = struct{}{}
		p, ok, err := l.place(m, c, pack)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("chunk %s of message %s: %w: %w", c, m.GUID, errLost, cyrus.ErrLocked)
		}
		l.at = append(l.at, p)
	}
	return nil
}

func (l *placeLookup) place(m *history.Message, c history.ChunkID, number uint64) (history.Place, bool, error) {
	if number == 0 {
		return l.part.lookupChunk(l.t, sole(m.GUID, m.Chunks), c)
	}
	object, ok := l.objects[number]
	if !ok {
		sum, err := l.part.numbers.pack(l.t, number)
		if err != nil {
			return history.Place{}, false, err
		}
		object = history.PackKey(sum)
		l.objects[number] = object
	}
	return history.Place{Chunk: c, Object: object, Entry: l.entry(pack.MessageName(m.GUID))}, true, nil
}

// entry returns the name of an entry.
func (l *placeLookup) entry(n pack.Name) string {
	const room = 64 // more than the name of a message takes
	if l.entries.Cap()-l.entries.Len() < room {
		l.entries.Reset() // the strings keep their memory
		l.entries.Grow(256 * room)
	}
	var name [room]byte
	from := l.entries.Len()
	l.entries.Write(n.Append(name[:0]))
	return l.entries.String()[from:]
}
