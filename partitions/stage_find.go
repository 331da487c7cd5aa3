package partitions

import (
	"bytes"
	"slices"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/indexvalue"
)

// finder looks up messages where a backup may refer to them: in the messages that the
// connection has staged, in the backup itself, and in the packs of the partition.
type finder struct {
	g    *Stage
	t    *index.Txn
	st   *State // the backup; nil while it does not exist
	part *Partition
	dead *history.Condemned // packs of part that nothing new may refer to
	from *State             // the backup that the mailbox comes from; nil = none
	open bool               // the fence does not matter
}

// Message is a message that a record can refer to.
type Message struct {
	Size    int64
	Missing bool // the backup knows the message but has no body
	Lost    bool // missing, although the state still names the place of its body
	Damaged bool // missing, because the backup that the mailbox comes from has lost its body

	exists bool
	known  bool                 // the backup knows the message already, as ours
	chunks []history.ChunkID    // valid until the next lookup, unless staged
	memory []history.ChunkID    // for the chunks of a message in a pack
	pack   uint64               // number of the pack that contains it as one entry; 0 = not known
	staged *stagedMessage       // must be made durable or put inline
	ours   history.MessageState // its chunks are valid until the next lookup
}

// Exists reports whether a lookup has found the message.
func (m *Message) Exists() bool { return m.exists }

// Known reports whether the backup knows the message already.
func (m *Message) Known() bool { return m.known }

// reset forgets the message and keeps its memory.
func (m *Message) reset() {
	*m = Message{ours: history.MessageState{Message: history.Message{Chunks: m.ours.Chunks[:0]}}, memory: m.memory[:0]}
}

// find looks up one message.
func (f *finder) find(g cyrus.GUID) (m Message, err error) {
	guids, found := [1]cyrus.GUID{g}, [1]Message{}
	err = f.findAll(guids[:], found[:])
	return found[0], err
}

// findAll looks up messages: found[i] is the message guids[i]. A staged message that another backup
// has taken, or of which it is not known whether it is held elsewhere, counts only if it is not.
func (f *finder) findAll(guids []cyrus.GUID, found []Message) error {
	if err := f.findStored(guids, found); err != nil {
		return err
	}
	for i, g := range guids {
		if s, m := f.g.msgs[g], &found[i]; s != nil && s.last() && (!m.exists || m.Missing || m.Size != s.size) {
			m.reset()
			s.unsure = false // from now on the caller may rely on it
			f.inStage(g, m)
		}
	}
	return nil
}

// findStored is findAll without such staged messages. It looks in one place after another, and
// there in the order of the GUIDs, so that each block of the index is read once.
func (f *finder) findStored(guids []cyrus.GUID, found []Message) error {
	for i, g := range guids {
		found[i].reset()
		if s := f.g.msgs[g]; s != nil && !s.last() {
			f.inStage(g, &found[i])
		}
	}
	order := inOrder(guids)
	if f.st != nil {
		if err := f.inBackup(guids, order, found); err != nil {
			return err
		}
	}
	if f.part.private() {
		return nil
	}
	outside, err := f.outside(guids, order, found)
	if err != nil {
		return err
	}
	return f.t.InParallel(len(order), func(from, to int) error {
		packs := f.packs()
		for _, i := range order[from:to] {
			m := &found[i]
			if m.exists && !m.Missing || m.known && m.ours.Private || outside[i] {
				continue
			}
			if err := f.inPacks(packs, guids[i], m); err != nil {
				return err
			}
		}
		return nil
	})
}

// inOrder returns the positions of GUIDs in ascending order.
func inOrder(guids []cyrus.GUID) []int32 {
	order := make([]int32, len(guids))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return bytes.Compare(guids[a][:], guids[b][:]) })
	return order
}

// last reports whether a lookup asks for the staged message last.
func (m *stagedMessage) last() bool { return m.unsure || m.taken != "" }

// inStage finds a message that the connection has sent.
func (f *finder) inStage(g cyrus.GUID, m *Message) {
	if s := f.g.msgs[g]; s != nil && (s.inMem || s.part == f.part) {
		s.part = f.part // a message in memory goes to the partition that needs it
		m.exists, m.Size, m.chunks, m.staged = true, s.size, s.chunks, s
	}
}

// inBackup finds the messages that the backup knows, except for staged ones. order are the
// positions of the GUIDs in ascending order.
func (f *finder) inBackup(guids []cyrus.GUID, order []int32, found []Message) error {
	todo := make([]int32, 0, len(order))
	key := index.MessageKey(f.st.id, make([]byte, len(cyrus.GUID{})))
	for _, i := range order {
		if !found[i].exists && !f.t.Lacks(key.WithGUID(guids[i])) {
			todo = append(todo, i)
		}
	}
	if len(todo) >= fewLookups {
		done, err := f.st.eachMessage(guids, todo, func(i int32, value []byte) error {
			if err := indexvalue.ParseMessage(value, guids[i], &found[i].ours); err != nil {
				return err
			}
			return f.known(&found[i])
		})
		if err != nil {
			return err
		}
		todo = todo[done:]
	}
	for _, i := range todo {
		ok, err := f.st.message(guids[i], &found[i].ours)
		if err == nil && ok {
			err = f.known(&found[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// known completes a message that the backup knows.
func (f *finder) known(m *Message) (err error) {
	m.exists, m.known, m.Size = true, true, m.ours.Size
	held := false
	if !m.ours.Missing {
		if held, err = f.st.holds(&m.ours); err != nil {
			return err
		}
	}
	m.Missing, m.Lost = !held, !held && !m.ours.Missing
	return nil
}

// packsLookup looks up messages in packs of a partition.
type packsLookup struct {
	index  *sharedLookup
	recent []*recentPack // asked first; none unless each of their messages may be referred to
}

// packs returns a lookup for one goroutine.
func (f *finder) packs() *packsLookup {
	l := &packsLookup{index: f.part.sharedLookup(f.t)}
	if now := f.part.lossState(); len(f.dead.Packs) == 0 && now.count.Count == 0 {
		l.recent = f.part.recent.since(now)
	}
	return l
}

// find returns a message. It uses memory for the chunks if that is large enough.
func (l *packsLookup) find(g cyrus.GUID, memory []history.ChunkID) (shared, bool, error) {
	if len(l.recent) > 0 && l.index.lacks(g) {
		return shared{}, false, nil
	}
	for _, p := range l.recent {
		if m := p.find(g); m != nil {
			return shared{m.size, append(memory[:0], m.chunk), p.number}, true, nil
		}
	}
	return l.index.find(g, memory)
}

// inPacks finds a message in packs of the partition. m keeps what is known of the message if
// the packs do not have it. Several goroutines call it.
func (f *finder) inPacks(packs *packsLookup, g cyrus.GUID, m *Message) error {
	s, ok, err := packs.find(g, m.memory)
	if err != nil || !ok {
		return err
	}
	live, err := f.part.sharedUsable(f.t, f.dead, g, s)
	switch {
	case err != nil:
		return err
	case live:
		*m = Message{exists: true, Size: s.size, chunks: s.chunks, pack: s.pack, memory: s.chunks}
	case !m.exists: // perhaps lost since RESERVE reported it as held
		m.exists, m.Size, m.Missing, m.Lost = true, s.size, true, true
	}
	return nil
}

const (
	// lookupsAtOnce limits the memory of the lookups of a RESERVE.
	lookupsAtOnce = 8192
	// lookupMemory is about what one of them takes, in bytes: a Message, its position in the
	// order of the GUIDs, its chunk, and what the index allocates to read it.
	lookupMemory = 320
)

// lacking returns the messages that have no body here, in their order.
func (f *finder) lacking(guids []cyrus.GUID) (missing []cyrus.GUID, err error) {
	found := make([]Message, min(len(guids), lookupsAtOnce))
	for part := range slices.Chunk(guids, lookupsAtOnce) {
		if err := f.findAll(part, found); err != nil {
			return nil, err
		}
		for i, g := range part {
			if !found[i].exists || found[i].Missing {
				missing = append(missing, g)
			}
			if s := found[i].staged; s != nil {
				s.promised = true
			}
		}
	}
	return missing, nil
}
