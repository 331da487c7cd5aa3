package history

import "errors"

var (
	// ErrCorrupt: bytes that this package cannot have written, or that do not fit
	// the rest of the log. The error around it names the object.
	ErrCorrupt = errors.New("damaged")
	// ErrVersion: the object was written by a newer version of this program.
	ErrVersion = errors.New("unknown format version")
	// ErrAbsent: a commit that must be there is in no object of the log.
	ErrAbsent = errors.New("absent from the log")
	// ErrBeforeFirst: the moment asked for lies before the first commit, or before
	// what retention has kept.
	ErrBeforeFirst = errors.New("before the first commit")
	// ErrNoPlace: nothing says where a chunk lies.
	ErrNoPlace = errors.New("no place is known")
	// ErrMissing: the message is known, but its body was never received.
	ErrMissing = errors.New("the source could not read this message")
	// ErrTooLarge: an event or an object that is larger than the format allows.
	ErrTooLarge = errors.New("too large")
)
