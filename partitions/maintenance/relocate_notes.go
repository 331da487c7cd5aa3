package maintenance

import (
	"container/list"
	"hash/maphash"

	"github.com/cyrusbackup/backupd/partitions/history"
)

const (
	// mostNoteBytes limits the notes in memory: about 500,000 entries.
	mostNoteBytes = 32 << 20
	// mostWithoutNote is how many packs are remembered about which no note is to be followed.
	mostWithoutNote = 1 << 16
	// About how many bytes an entry of a note and a pack that it names take.
	noteEntryBytes, notePackBytes = 64, 256
)

// notes are notes about removed packs. The backups of a partition name the same packs in about the same order, so
// the note that was used least recently is dropped first.
type notes struct {
	most, bytes int
	seed        maphash.Seed
	recent      *list.List               // of *note, the last one used first
	byPack      map[string]*list.Element // of recent
	without     map[string]bool          // packs that exist, or have no readable note
}

// note is a note without the names of its entries. Whoever follows it looks for the entry in the pack.
type note struct {
	about string
	packs []string
	in    map[uint64]uint32 // hash of an entry → index of its pack
}

func newNotes(most int) *notes {
	return &notes{most: most, seed: maphash.MakeSeed(), recent: list.New(), byPack: map[string]*list.Element{}, without: map[string]bool{}}
}

// find returns the note about a pack, or nil if none is to be followed.
func (n *notes) find(pack string) (found *note, known bool) {
	if e, ok := n.byPack[pack]; ok {
		n.recent.MoveToFront(e)
		return e.Value.(*note), true
	}
	return nil, n.without[pack]
}

// add remembers the note about a pack; m is nil if none is to be followed.
func (n *notes) add(pack string, m *history.Moved) *note {
	if m == nil {
		if len(n.without) >= mostWithoutNote {
			clear(n.without)
		}
		n.without[pack] = true
		return nil
	}
	is, index := &note{about: pack, in: make(map[uint64]uint32, len(m.Entries))}, map[string]uint32{}
	for entry, to := range m.Entries {
		at, ok := index[to]
		if !ok {
			at = uint32(len(is.packs))
			is.packs, index[to] = append(is.packs, to), at
		}
		is.in[maphash.String(n.seed, entry)] = at
	}
	n.byPack[pack] = n.recent.PushFront(is)
	n.bytes += is.bytes()
	for n.bytes > n.most && n.recent.Len() > 1 {
		last := n.recent.Remove(n.recent.Back()).(*note)
		delete(n.byPack, last.about)
		n.bytes -= last.bytes()
	}
	return is
}

func (n *note) bytes() int { return len(n.in)*noteEntryBytes + (len(n.packs)+1)*notePackBytes }

// place returns the pack that an entry is in now, as the note records.
func (n *notes) place(in *note, entry string) (pack string, ok bool) {
	at, ok := in.in[maphash.String(n.seed, entry)]
	if !ok {
		return "", false
	}
	return in.packs[at], true
}
