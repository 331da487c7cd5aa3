package pack

import (
	"errors"
	"fmt"
)

// The outcomes that callers tell apart.
var (
	// ErrCorrupt: the bytes are not what a Writer wrote. The text says what and where.
	// An error of the reader beneath is never turned into ErrCorrupt.
	ErrCorrupt = errors.New("object is corrupt")
	// ErrVersion: the object is intact, but of a version, or with a feature, that this
	// software does not know.
	ErrVersion = errors.New("object needs newer software")
	// ErrName: the name of the entry is not on the fixed list.
	ErrName = errors.New("name of entry not allowed")
	// ErrDuplicate: the object has an entry of this name already.
	ErrDuplicate = errors.New("entry exists already")
	// ErrTooLarge: the entry or the object is past what the format holds.
	ErrTooLarge = errors.New("too large")
)

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// within adds the offset of a frame to what is wrong with it.
func within(off int64, err error) error { return fmt.Errorf("frame at %d: %w", off, err) }
