package imapconf

import (
	"errors"
	"fmt"
	"strings"
)

// Origin is where an option was set. The zero value means that the default applies.
type Origin struct {
	File string
	Line int    // last line of a continued line, as in Cyrus
	Key  string // in lower case, with the service prefix or the old name
}

// String is "file:line", or "default".
func (o Origin) String() string {
	if o.File == "" {
		return "default"
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line)
}

// Error is one fault in the configuration. Load returns them joined (errors.Join).
type Error struct {
	Origin
	Value   string // the wrong value; empty if the value is not the fault
	Problem string // description of the fault
	Allowed string // allowed values; may be empty

	err error // cause of Problem; may be nil
}

// Error returns file, line, option, value and the allowed values.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.Origin.String())
		b.WriteString(": ")
	}
	if e.Key != "" {
		b.WriteString(e.Key)
		b.WriteString(": ")
	}
	if e.Value != "" {
		fmt.Fprintf(&b, "%q: ", e.Value)
	}
	b.WriteString(e.Problem)
	if e.Allowed != "" {
		b.WriteString("; allowed: ")
		b.WriteString(e.Allowed)
	}
	return b.String()
}

// Unwrap returns the error that Errorf wrapped.
func (e *Error) Unwrap() error { return e.err }

// Errorf returns an error about an option's value that only the user of the option can detect, in
// the format of Load's errors. %w wraps.
func (f *File) Errorf(option, format string, args ...any) error {
	o := f.Origin(option)
	if o.Key == "" {
		o.Key = option
	}
	err := fmt.Errorf(format, args...)
	return &Error{Origin: o, Problem: err.Error(), err: errors.Unwrap(err)}
}
