package dlist

import (
	"errors"
	"fmt"
)

// ErrField is wrapped by every error about the content of a well-formed value: a missing
// key, a number that does not parse, a list in place of a string. The stream is still
// aligned after it.
var ErrField = errors.New("bad field")

// FieldError names the wrong field and the reason. It wraps ErrField.
type FieldError struct {
	Key string // "" if the value has no key
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

// SyntaxError is returned by a Decoder for bytes that are not a valid dlist and for input
// that exceeds Limits. SkipLine continues after it.
type SyntaxError struct {
	Msg    string
	Offset int64 // bytes since the command began
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("dlist: %s at byte %d", e.Msg, e.Offset)
}
