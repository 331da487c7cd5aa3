package history

import "errors"

var (
	// ErrCorrupt reports bytes that this package cannot have written, or that
	// contradict the rest of the log. The error around it names the object.
	ErrCorrupt = errors.New("damaged")
	// ErrVersion reports an object that a newer version of this program wrote.
	ErrVersion = errors.New("unknown format version")
	// ErrAbsent reports a commit that no object of the log holds.
	ErrAbsent = errors.New("missing from the log")
	// ErrBeforeFirst reports a requested moment before the first commit, or before the
	// first commit kept by retention.
	ErrBeforeFirst = errors.New("before the first commit")
	// ErrNoPlace reports a chunk whose place is unknown.
	ErrNoPlace = errors.New("location unknown")
	// ErrMissing reports a known message without a body: the body was never received,
	// or it was lost.
	ErrMissing = errors.New("body missing from the backup")
	// ErrTooLarge reports an event or object larger than the format allows.
	ErrTooLarge = errors.New("too large")
)
