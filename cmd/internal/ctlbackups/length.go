package ctlbackups

import (
	"time"

	"github.com/cyrusbackup/backupd/internal/timespec"
)

// length is the value of an option: a length of time. It implements pflag.Value.
type length time.Duration

// Set parses the value.
func (l *length) Set(text string) error {
	d, err := timespec.Length(text)
	*l = length(d)
	return err
}

// String returns the value; "" = none was given.
func (l *length) String() string {
	if *l == 0 {
		return ""
	}
	return time.Duration(*l).String()
}

// Type names the type of the value.
func (l *length) Type() string { return "length of time" }
