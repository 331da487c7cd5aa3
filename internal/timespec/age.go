package timespec

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	agePattern = regexp.MustCompile(`^((?:\d{1,6} ?[a-z]+ ?)+)$`)
	agePart    = regexp.MustCompile(`(\d+) ?([a-z]+)`)
	lastSpan   = regexp.MustCompile(`^last (week|month|year)$`)
)

// age parses "3h ago", "3h", "1 day 12 hours ago", "90min" and "last week".
func age(s string, now time.Time) (civil, bool) {
	s = strings.TrimSpace(strings.TrimSuffix(s, " ago"))
	l, ok := readSpan(lastSpan.ReplaceAllString(s, "1 $1"))
	if !ok {
		return civil{}, false
	}
	return l.before(now), true
}

// span is a length of time. Months and days follow the calendar.
type span struct {
	months, days int
	clock        time.Duration
}

// readSpan parses "3h", "1 day 12 hours" and "90min".
func readSpan(s string) (l span, ok bool) {
	if !agePattern.MatchString(s) {
		return l, false
	}
	for _, p := range agePart.FindAllStringSubmatch(s, -1) {
		n, err := strconv.Atoi(p[1])
		if err != nil {
			return l, false
		}
		switch p[2] {
		case "s", "sec", "secs", "second", "seconds":
			l.clock += time.Duration(n) * time.Second
		case "m", "min", "mins", "minute", "minutes":
			l.clock += time.Duration(n) * time.Minute
		case "h", "hour", "hours":
			l.clock += time.Duration(n) * time.Hour
		case "d", "day", "days":
			l.days += n
		case "w", "week", "weeks":
			l.days += 7 * n
		case "month", "months":
			l.months += n
		case "y", "year", "years":
			l.months += 12 * n
		default:
			return l, false
		}
	}
	return l, true
}

// before returns the moment at that distance before t.
func (l span) before(t time.Time) civil {
	if l.months == 0 && l.days == 0 {
		return civil{instant: t.Add(-l.clock)}
	}
	return back(t.Add(-l.clock), l.months, l.days)
}

// after returns the moment at that distance after t.
func (l span) after(t time.Time) civil { return span{-l.months, -l.days, -l.clock}.before(t) }

// back returns a moment some months and days before t, at the same time of day. If the month is too
// short, as one month before March 31, it uses the last day.
func back(t time.Time, months, days int) civil {
	w := wall(t)
	first := time.Date(w.Year(), w.Month()-time.Month(months), 1, w.Hour(), w.Minute(), w.Second(), w.Nanosecond(), time.UTC)
	last := first.AddDate(0, 1, -1).Day()
	return civil{wall: first.AddDate(0, 0, min(w.Day(), last)-1-days)}
}

// wall returns calendar and clock of t, written as if it were UTC.
func wall(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}
