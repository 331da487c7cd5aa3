// Package doctor checks a backup host as an administrator has set it up: imapd.conf, cyrus.conf,
// directories, keys and stores, as the daemon's user sees them. It changes nothing in directories. In
// a bucket it puts a few objects below probe/, and removes them if the keys may.
package doctor

import (
	"fmt"
	"strings"
)

// Level is how bad a finding is.
type Level int

// The levels.
const (
	OK Level = iota
	Warning
	Error
)

func (l Level) String() string { return [...]string{"ok", "warning", "error"}[l] }

// MarshalText is the level's name in JSON.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText parses a level's name.
func (l *Level) UnmarshalText(text []byte) error {
	for _, known := range []Level{OK, Warning, Error} {
		if known.String() == string(text) {
			*l = known
			return nil
		}
	}
	return fmt.Errorf("%q is not a level", text)
}

// Finding is the result of one check.
type Finding struct {
	Level Level  `json:"level"`
	Check string `json:"check"`           // its name, such as index, or partition default
	Where string `json:"where,omitempty"` // file:line, path or location
	Text  string `json:"text"`
	Fix   string `json:"fix,omitempty"` // the command or setting
}

// Worst returns the highest level.
func Worst(all []Finding) (worst Level) {
	for _, f := range all {
		worst = max(worst, f.Level)
	}
	return worst
}

// report collects findings.
type report struct {
	check string // that runs now
	all   []Finding
}

func (r *report) ok(where, format string, args ...any) { r.add(OK, where, "", format, args...) }

func (r *report) warn(where, fix, format string, args ...any) {
	r.add(Warning, where, fix, format, args...)
}

func (r *report) fail(where, fix, format string, args ...any) {
	r.add(Error, where, fix, format, args...)
}

func (r *report) add(l Level, where, fix, format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	r.all = append(r.all, Finding{Level: l, Check: r.check, Where: where, Text: text, Fix: fix})
}

// sound reports whether no finding since the first n is worse than ok.
func (r *report) sound(n int) bool { return Worst(r.all[n:]) == OK }
