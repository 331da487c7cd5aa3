package pack

import (
	"errors"
	"fmt"
)

// The kinds of errors.
var (
	// ErrCorrupt means that the bytes differ from the output of a Writer. The text states
	// the place and the defect. An error of the underlying reader never becomes ErrCorrupt.
	ErrCorrupt = errors.New("object is corrupt")
	// ErrVersion means that the object is intact, but has a version or a feature that this
	// software does not support.
	ErrVersion = errors.New("object needs newer software")
	// ErrName means that the name of the entry is not on the fixed list.
	ErrName = errors.New("name of entry not allowed")
	// ErrDuplicate means that the object already contains an entry of this name.
	ErrDuplicate = errors.New("entry exists already")
	// ErrTooLarge means that the entry or the object exceeds a limit of the format.
	ErrTooLarge = errors.New("too large")
)

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// within adds the offset of a frame to its error.
func within(off int64, err error) error { return fmt.Errorf("frame at %d: %w", off, err) }
