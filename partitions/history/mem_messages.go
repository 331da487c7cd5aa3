package history

import (
	"fmt"
	"iter"
	"slices"
)

// messagesTogether is how many messages share an allocation: few, because each one of them keeps
// all in memory.
const messagesTogether = 32

// parseMessageLines returns a function that reads lines of a block of messages.
func parseMessageLines() func(line []byte) (*MessageState, error) {
	var slab []MessageState
	var chunks []ChunkID
	return func(line []byte) (*MessageState, error) {
		if len(slab) == 0 {
			slab, chunks = make([]MessageState, messagesTogether), make([]ChunkID, 0, messagesTogether)
		}
		s := &slab[0]
		slab = slab[1:]
		if err := s.read(line, &chunks); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return s, nil
	}
}

// PutMessage implements State.
func (m *Mem) PutMessage(s *MessageState) error {
	c := *s
	c.Inline = false
	m.line = append(c.append(m.line[:0]), '\n')
	return m.messages.add(guidPrefix(c.GUID), m.line)
}

// Messages yields the messages in order of arrival. A message that arrived more than once
// is yielded each time; the last one is valid.
func (m *Mem) Messages() iter.Seq2[*MessageState, error] {
	if err := m.whole(); err != nil {
		return func(yield func(*MessageState, error) bool) { yield(nil, err) }
	}
	return m.messages.all()
}

// MessagesUnseen is Messages for many states of a backup: it yields the messages of each block only once. seen are the
// blocks of earlier calls, and at first empty.
func (m *Mem) MessagesUnseen(seen map[string]bool) iter.Seq2[*MessageState, error] {
	if err := m.whole(); err != nil {
		return func(yield func(*MessageState, error) bool) { yield(nil, err) }
	}
	return m.messages.unseen(seen)
}

// Arrivals returns how many messages Messages yields.
func (m *Mem) Arrivals() (n int, err error) {
	for _, b := range m.messages.blocks {
		n += b.ref.Count
	}
	return n, m.whole()
}

// KeepMessages implements State.
func (m *Mem) KeepMessages(keep func(*MessageState) bool) error {
	dropped, err := m.messages.keep(keep)
	m.pruned = m.pruned || dropped
	return err
}

// AddPlace adds a place of a chunk. Readers try the last added place first.
func (m *Mem) AddPlace(p Place) error {
	if p.Object == "." {
		return fmt.Errorf("place of chunk %s names no object", p.Chunk)
	}
	m.line = p.append(m.line[:0])
	return m.places.add(chunkPrefix(p.Chunk), m.line)
}

// Places returns the known places of a chunk, the newest first. Their objects are real
// keys, never ".", but may have been rewritten since: see ResolvePlace.
func (m *Mem) Places(c ChunkID) ([]Place, error) {
	if err := m.whole(); err != nil {
		return nil, err
	}
	var out []Place
	for p, err := range m.places.find(chunkPrefix(c)) {
		if err != nil {
			return nil, err
		}
		if p.Chunk == c && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	if slices.ContainsFunc(out, func(p Place) bool { return !p.Erased() }) { // it has arrived again
		out = slices.DeleteFunc(out, func(p Place) bool { return p.Erased() })
	}
	return out, nil
}

// AllPlaces yields every place in order of arrival.
func (m *Mem) AllPlaces() iter.Seq2[Place, error] {
	if err := m.whole(); err != nil {
		return func(yield func(Place, error) bool) { yield(Place{}, err) }
	}
	return m.places.all()
}

// PlacesUnseen is AllPlaces for many states of a backup: it yields the places of each block only once. seen are the
// blocks of earlier calls, and at first empty.
func (m *Mem) PlacesUnseen(seen map[string]bool) iter.Seq2[Place, error] {
	if err := m.whole(); err != nil {
		return func(yield func(Place, error) bool) { yield(Place{}, err) }
	}
	return m.places.unseen(seen)
}

// AnyPlace reports whether is returns true for a place. known are the answers for blocks of places, by their SHA-256:
// those of earlier calls with the same function, and at first empty.
func (m *Mem) AnyPlace(known map[string]bool, is func(Place) bool) (any bool, err error) {
	for _, b := range m.places.blocks {
		if err := m.places.seal(b); err != nil {
			return any, err
		}
		hit, ok := known[b.ref.SHA256]
		if !ok {
			list, err := m.places.lines(b)
			if err != nil {
				return any, inObject(b.ref.Object, err)
			}
			hit = slices.ContainsFunc(list, is)
			known[b.ref.SHA256] = hit
		}
		any = any || hit
	}
	return any, m.whole()
}

// sweepPlaces drops the places of chunks that no message uses any more.
func (m *Mem) sweepPlaces() error {
	if !m.pruned {
		return nil
	}
	named := &prefixSet{}
	for s, err := range m.Messages() {
		if err != nil {
			return err
		}
		for _, c := range s.Chunks {
			named.add(chunkPrefix(c))
		}
	}
	named.sort()
	_, err := m.places.keep(func(p Place) bool { return named.has(chunkPrefix(p.Chunk)) })
	m.pruned = err != nil
	return err
}
