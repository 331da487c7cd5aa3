// Package timespec parses points in time as people write them on a command line, and prints them
// with their offset from UTC.
//
// It refuses "03/04/2026", which can mean two days. If a clock change repeats or skips an hour, it
// reports which instant it uses.
package timespec

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // names of zones mean the same on a host without its own tables
)

// Forms lists the forms that Parse accepts, for usage texts and errors.
const Forms = `2026-11-20T14:05:00Z, "2026-11-20 14:05", 2026-11-20, "27 Nov 2026", 26.11.2026, 14:05, 5pm, noon, midnight, ` +
	`"yesterday 14:05", "last tuesday 5pm", "last week", 2h, "2 days ago", now, @1764000000; ` +
	`a zone can follow: +0100, UTC or Europe/Berlin`

// Layout is the format of times in the output of the tools. Parse accepts it.
const Layout = "2006-01-02 15:04:05 -0700"

// Text prints a time in the zone of the host, with its offset.
func Text(t time.Time) string { return t.Local().Format(Layout) }

// Moment is a parsed point in time.
type Moment struct {
	time.Time
	// Note names the instant in use if the text can mean two instants or none because of a clock
	// change. Otherwise it is empty.
	Note string
}

// Parse parses a point in time. Without an offset or zone it is in now's location. A day alone means
// its first moment, a time alone is today. Ages ("3h ago", or "3h") count back from now: days, weeks,
// months and years by the calendar, all others by the clock.
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
	if y := m.UTC().Year(); y < 1 || y > 9998 { // cannot be written with an offset
		return Moment{}, fmt.Errorf("%q %w", text, errForm)
	}
	return m, nil
}
