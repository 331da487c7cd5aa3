package history

import (
	"fmt"
	"time"
)

// A message that was erased keeps its records, and the events that name it, because they are in the chain of hashes. Only
// its places change: each becomes a place in no object, with the time. So a reader of a moment before the ErasedEvent
// finds out that its body is gone on purpose.

// erasedObject is the Object of such a place, and Entry is the time.
const erasedObject = "erased"

// ErasedPlace is the place of a chunk that was erased.
func ErasedPlace(c ChunkID, at time.Time) Place {
	return Place{Chunk: c, Object: erasedObject, Entry: at.UTC().Format(time.RFC3339)}
}

// Erased reports whether the chunk was erased.
func (p *Place) Erased() bool { return p.Object == erasedObject }

// ErasedError reports a message whose body was erased. It is no damage.
type ErasedError struct{ At time.Time }

func (e *ErasedError) Error() string {
	return fmt.Sprintf("erased on %s", e.At.UTC().Format(time.RFC3339))
}

// ErasedAt returns when the chunk was erased; zero = it was not. (A place that was read has a valid time: see check.)
func (p *Place) ErasedAt() (at time.Time) {
	if p.Erased() {
		at, _ = time.Parse(time.RFC3339, p.Entry)
	}
	return at
}

// erasedError returns the ErasedError of a place, or nil.
func (p *Place) erasedError() error {
	if !p.Erased() {
		return nil
	}
	return &ErasedError{p.ErasedAt()}
}

// BodyError returns why the state has no body of a message, or nil.
func (m *MessageState) BodyError() error {
	switch {
	case !m.Erased.IsZero():
		return fmt.Errorf("message %s: %w", m.GUID, &ErasedError{m.Erased})
	case m.Missing:
		return fmt.Errorf("message %s: %w", m.GUID, ErrMissing)
	}
	return nil
}

// HasErased reports whether messages were erased from the backup, at any time.
func (m *Mem) HasErased() bool { return m.erased }
