package dlist

import (
	"errors"
	"fmt"
)

// ErrField is wrapped by every error about the content of a well-formed value:
// a missing key, a number that is none, a list where a string belongs. The
// stream is still aligned after it.
var ErrField = errors.New("bad field")

// FieldError says which field is wrong and why. It wraps ErrField.
type FieldError struct {
	Key string // "" when the value has no key
	Msg string
}

func (e *FieldError) Error() string {
	if e.Key == "" {
		return e.Msg
	}
	return e.Key + ": " + e.Msg
}

// Unwrap makes errors.Is(err, ErrField) true.
func (e *FieldError) Unwrap() error { return ErrField }

// SyntaxError is what a Decoder returns for bytes that are no dlist, and for a
// part that is larger than its Limits. SkipLine goes on after it.
type SyntaxError struct {
	Msg    string
	Offset int64 // bytes since the command began
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("dlist: %s at byte %d", e.Msg, e.Offset)
}
