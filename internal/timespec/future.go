package timespec

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// FutureForms lists forms that Future accepts, for usage texts and errors.
const FutureForms = `30d, "in 6 months", tomorrow, 2027-12-31, "2027-12-31 14:05" or 2027-12-31T14:05:00Z`

var nextSpan = regexp.MustCompile(`^next (week|month|year)$`)

// Future parses a moment after now. A length of time, such as "30d" or "in 30 days", counts from
// now on; every other text is as for Parse.
func Future(text string, now time.Time) (Moment, error) {
	s := strings.ToLower(strings.Join(strings.Fields(text), " "))
	ahead := nextSpan.ReplaceAllString(strings.TrimPrefix(s, "in "), "1 $1")
	m, err := Moment{}, error(nil)
	switch l, ok := readSpan(ahead); {
	case ok:
		m, err = l.after(now).in(zone{location: now.Location()})
	case s == "tomorrow":
		m, err = Parse(now.AddDate(0, 0, 1).Format(time.DateOnly), now)
	default:
		m, err = Parse(text, now)
	}
	switch {
	case errors.Is(err, errForm), m.UTC().Year() > 9998: // cannot be written with an offset
		return Moment{}, fmt.Errorf("%q is not a point in time; write %s", text, FutureForms)
	case err != nil:
		return Moment{}, err
	case !m.After(now):
		return Moment{}, fmt.Errorf("%q is %s, which is not in the future; write %s", text, m.Format(Layout), FutureForms)
	}
	m.Time = m.Time.In(now.Location())
	return m, nil
}

// LengthForms lists forms that Length accepts, for usage texts and errors.
const LengthForms = `90s, 30m, 4h, 1h30m, 1d or "2 weeks"`

// Length parses a length of time. A day has 24 hours.
func Length(text string) (time.Duration, error) {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return d, nil
	}
	l, ok := readSpan(strings.ToLower(strings.Join(strings.Fields(text), " ")))
	if !ok || l.months > 0 {
		return 0, fmt.Errorf("%q is not a length of time; write %s", text, LengthForms)
	}
	return l.clock + time.Duration(l.days)*24*time.Hour, nil
}
