package partitions

import (
	"iter"
	"slices"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// placer stores the places of chunks that a log names, and makes the messages in packs known
// to the partition, so that any backup may refer to them. A message that is one entry of a
// pack needs its size, which the message has, and its pack, which the place has. Both come in
// the order of the log, so each waits for the other only briefly, and nothing is read that
// was just written. What does not meet is stored nevertheless, at the cost of reads.
type placer struct {
	s *State

	queue    []history.Place              // places of packs that have no numbers yet
	messages waiting[history.Message]     // messages of one chunk whose places have not come
	places   waiting[placed]              // places of whole messages that have not come
	later    []cyrus.GUID                 // messages to look at when their places are stored
	needed   map[history.ChunkID]struct{} // pieces whose places have not come
}

// placed is the place of a whole message.
type placed struct {
	chunk  history.ChunkID
	at     chunkPlace
	number uint64
}

const (
	placerQueue  = 1024    // places whose packs are numbered at once
	placerWindow = 1 << 14 // messages or places that wait
	placerLater  = 1 << 14
)

func (s *State) placer() *placer {
	return &placer{
		s: s, needed: map[history.ChunkID]struct{}{},
		messages: waiting[history.Message]{most: placerWindow}, places: waiting[placed]{most: placerWindow},
	}
}

// message adds a message of the backup. The state already has it.
func (w *placer) message(m *history.Message) error {
	switch {
	case m.Missing:
		return nil
	case len(m.Chunks) > 1:
		for _, c := range m.Chunks {
			w.needed[c] = struct{}{}
		}
		return w.lookLater(m.GUID)
	case m.Private:
		return nil // its place is not named by its GUID
	}
	if p, ok := w.places.take(m.GUID); ok {
		if p.chunk == m.Chunks[0] {
			return w.met(m, p)
		}
		if err := w.unmet(p); err != nil {
			return err
		}
	}
	if old, ok := w.messages.add(m.GUID, *m); ok {
		return w.lookLater(old.GUID)
	}
	return nil
}

// lookLater checks a message after its places have been stored.
func (w *placer) lookLater(g cyrus.GUID) error {
	if w.later = append(w.later, g); len(w.later) < placerLater {
		return nil
	}
	return w.look()
}

func (w *placer) look() error {
	if err := w.flush(); err != nil {
		return err
	}
	for _, g := range w.later {
		m, err := w.s.Message(g)
		if err != nil {
			return err
		}
		if m == nil {
			continue // dropped by a later event
		}
		if err := w.s.shareKnown(m.Message); err != nil {
			return err
		}
	}
	w.later = w.later[:0]
	return nil
}

// place adds a place.
func (w *placer) place(p history.Place) error {
	if w.queue = append(w.queue, p); len(w.queue) < placerQueue {
		return nil
	}
	return w.flush()
}

// flush handles the places in the queue.
func (w *placer) flush() error {
	var packs [][32]byte
	at := make([]chunkPlace, len(w.queue))
	number := map[[32]byte]uint64{}
	for i, p := range w.queue {
		var ok bool
		if at[i], ok = parsePlace(p); !ok {
			continue
		}
		if _, twice := number[at[i].pack]; !twice {
			number[at[i].pack] = 0
			packs = append(packs, at[i].pack)
		}
	}
	numbers, err := w.s.part.numbers.numbersOf(packs)
	if err != nil {
		return err
	}
	for i, pack := range packs {
		number[pack] = numbers[i]
	}
	for i, p := range w.queue {
		if err := w.put(p, at[i], number[at[i].pack]); err != nil {
			return err
		}
	}
	w.queue = w.queue[:0]
	return nil
}

// put handles one place. number is 0 for a place that is not in a pack.
func (w *placer) put(p history.Place, at chunkPlace, number uint64) error {
	if p.Erased() {
		return nil
	}
	_, needed := w.needed[p.Chunk]
	delete(w.needed, p.Chunk)
	switch {
	case number == 0:
		if m, ok := w.waitsFor(p); ok {
			w.messages.take(m) // in a log: not shared
		}
		return w.s.putInline(p)
	case !at.whole || w.s.part.lossCount().Count > 0:
		return w.s.part.putPlace(w.s.t, p.Chunk, at, number)
	case needed:
		if err := w.s.part.putPlace(w.s.t, p.Chunk, at, number); err != nil {
			return err
		}
	}
	is := placed{p.Chunk, at, number}
	if m, ok := w.messages.get(at.guid); ok && m.Chunks[0] == p.Chunk {
		w.messages.take(at.guid)
		return w.met(&m, is)
	}
	if old, ok := w.places.add(at.guid, is); ok {
		return w.unmet(old)
	}
	return nil
}

// waitsFor returns the GUID of the message that waits for the place of a body in a log.
func (w *placer) waitsFor(p history.Place) (cyrus.GUID, bool) {
	if len(p.Entry) != 44 {
		return cyrus.GUID{}, false
	}
	g, err := cyrus.ParseGUID(p.Entry[:40])
	if err != nil {
		return g, false
	}
	m, ok := w.messages.get(g)
	return g, ok && m.Chunks[0] == p.Chunk
}

// met stores a message with its place.
func (w *placer) met(m *history.Message, p placed) error {
	return w.s.part.indexShared(w.s.t, m.GUID, shared{m.Size, m.Chunks, p.number})
}

// unmet stores a place whose message did not come.
func (w *placer) unmet(p placed) error { return w.s.part.putPlace(w.s.t, p.chunk, p.at, p.number) }

// end stores everything that still waits. again yields all places once more, for pieces of
// messages whose bytes are also a whole message; nil if none can be missing.
func (w *placer) end(again iter.Seq2[history.Place, error]) error {
	if err := w.flush(); err != nil {
		return err
	}
	for _, p := range w.places.rest() {
		if err := w.unmet(p); err != nil {
			return err
		}
	}
	for _, m := range w.messages.rest() {
		w.later = append(w.later, m.GUID)
	}
	if len(w.needed) > 0 && again != nil {
		for p, err := range again {
			if err != nil {
				return err
			}
			if _, ok := w.needed[p.Chunk]; !ok {
				continue
			}
			if err := w.s.putPlace(p); err != nil {
				return err
			}
		}
	}
	return w.look()
}

// waiting holds values by GUID, at most a number of them.
type waiting[T any] struct {
	most  int
	by    map[cyrus.GUID]T
	order []cyrus.GUID // of arrival; contains GUIDs that were taken
}

// add returns the value that has to go: the oldest, or the former one with this GUID.
func (q *waiting[T]) add(g cyrus.GUID, v T) (old T, ok bool) {
	if q.by == nil {
		q.by = map[cyrus.GUID]T{}
	}
	if old, ok = q.by[g]; ok {
		q.by[g] = v
		return old, true
	}
	q.by[g] = v
	q.order = append(q.order, g)
	for len(q.by) > q.most && !ok {
		old, ok = q.take(q.order[0])
		q.order = q.order[1:]
	}
	if len(q.order) > 2*q.most {
		q.order = slices.DeleteFunc(q.order, func(g cyrus.GUID) bool { _, in := q.by[g]; return !in })
	}
	return old, ok
}

func (q *waiting[T]) get(g cyrus.GUID) (v T, ok bool) {
	v, ok = q.by[g]
	return v, ok
}

func (q *waiting[T]) take(g cyrus.GUID) (v T, ok bool) {
	v, ok = q.by[g]
	delete(q.by, g)
	return v, ok
}

// rest takes all values, oldest first.
func (q *waiting[T]) rest() (out []T) {
	for _, g := range q.order {
		if v, ok := q.take(g); ok {
			out = append(out, v)
		}
	}
	q.order = nil
	return out
}
