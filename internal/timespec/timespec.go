// Package timespec reads points in time as a person writes them on a command line, and
// prints them with their offset from UTC.
//
// It has to refuse "03/04/2026", which can be two days, and to say which instant it takes of
// an hour that a change of the clock repeats or skips.
package timespec

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // names of zones mean the same on a host without its own tables
)

// Forms is what Parse understands, for usage texts and errors.
const Forms = `2026-11-20T14:05:00Z, "2026-11-20 14:05", 2026-11-20, "27 Nov 2026", 26.11.2026, 14:05, 5pm, noon, midnight, ` +
	`"yesterday 14:05", "last tuesday 5pm", "last week", 2h, "2 days ago", now, @1764000000; ` +
	`a zone can follow: +0100, UTC or Europe/Berlin`

// Layout is how the tools print a time. Parse reads it.
const Layout = "2006-01-02 15:04:05 -0700"

// Text prints a time in the zone of the host, with its offset.
func Text(t time.Time) string { return t.Local().Format(Layout) }

// Moment is a point in time that was read.
type Moment struct {
	time.Time
	// Note says which of several instants was taken, where a change of the clock makes
	// the text mean two of them or none. It is empty otherwise.
	Note string
}

// Parse reads a point in time. Without an offset or the name of a zone it is in now's
// location. A day alone is its first moment, a time alone is today's. Ages ("3h ago", or
// "3h") count back from now: days, weeks, months and years by the calendar, all others by
// the clock.
func Parse(text string, now time.Time) (Moment, error) {
	s := strings.Join(strings.Fields(text), " ")
	if t, ok := zoned(s); ok {
		return Moment{Time: t}, nil
	}
	if t, ok := epoch(s, now); ok {
		return Moment{Time: t}, nil
	}
	rest, z, err := cutZone(strings.ToLower(s), now.Location())
	if err != nil {
		return Moment{}, fmt.Errorf("%q: %w", text, err)
	}
	c, err := readCivil(rest, now.In(z.location))
	if err != nil {
		return Moment{}, fmt.Errorf("%q %w", text, err)
	}
	m, err := c.in(z)
	if err != nil {
		return Moment{}, fmt.Errorf("%q %w", text, err)
	}
	m.Time = m.Time.In(now.Location())
	if y := m.UTC().Year(); y < 1 || y > 9998 { // what cannot be written with an offset
		return Moment{}, fmt.Errorf("%q %w", text, errForm)
	}
	return m, nil
}
