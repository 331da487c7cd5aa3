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
	s = lastSpan.ReplaceAllString(s, "1 $1")
	if !agePattern.MatchString(s) {
		return civil{}, false
	}
	var months, days int
	var clock time.Duration
	for _, p := range agePart.FindAllStringSubmatch(s, -1) {
		n, err := strconv.Atoi(p[1])
		if err != nil {
			return civil{}, false
		}
		switch p[2] {
		case "s", "sec", "secs", "second", "seconds":
			clock += time.Duration(n) * time.Second
		case "m", "min", "mins", "minute", "minutes":
			clock += time.Duration(n) * time.Minute
		case "h", "hour", "hours":
			clock += time.Duration(n) * time.Hour
		case "d", "day", "days":
			days += n
		case "w", "week", "weeks":
			days += 7 * n
		case "month", "months":
			months += n
		case "y", "year", "years":
			months += 12 * n
		default:
			return civil{}, false
		}
	}
	if months == 0 && days == 0 {
		return civil{instant: now.Add(-clock)}, true
	}
	return back(now.Add(-clock), months, days), true
}

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
