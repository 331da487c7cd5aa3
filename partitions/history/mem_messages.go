package history

import (
	"fmt"
	"iter"
	"slices"
)

func parseMessageLine(line []byte) (*MessageState, error) {
	s := new(MessageState)
	if err := s.UnmarshalJSON(line); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return s, nil
}

// PutMessage implements State.
func (m *Mem) PutMessage(s *MessageState) error {
	c := *s
	c.Inline = false
	return m.messages.add(guidPrefix(c.GUID), append(c.append(nil), '\n'))
}

// Messages yields the messages in the order in which they became known. One that did
// so more than once is yielded as often; the last counts.
func (m *Mem) Messages() iter.Seq2[*MessageState, error] { return m.messages.all() }

// KeepMessages implements State.
func (m *Mem) KeepMessages(keep func(*MessageState) bool) error {
	dropped, err := m.messages.keep(keep)
	m.pruned = m.pruned || dropped
	return err
}

// AddPlace says where a chunk lies; the last place that was added is tried first.
func (m *Mem) AddPlace(p Place) error {
	if p.Object == "." {
		return fmt.Errorf("place of chunk %s names no object", p.Chunk)
	}
	return m.places.add(chunkPrefix(p.Chunk), p.append(nil))
}

// Places returns where a chunk lies as far as the state knows, the newest first.
// Objects are real keys, but they can have been rewritten since: see ResolvePlace.
func (m *Mem) Places(c ChunkID) ([]Place, error) {
	var out []Place
	for p, err := range m.places.find(chunkPrefix(c)) {
		if err != nil {
			return nil, err
		}
		if p.Chunk == c && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out, nil
}

// AllPlaces yields every place in order of arrival.
func (m *Mem) AllPlaces() iter.Seq2[Place, error] { return m.places.all() }

// sweepPlaces drops the places of chunks that no message consists of any more.
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
