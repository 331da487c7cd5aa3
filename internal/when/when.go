// Package when reads points in time as a person writes them on a command line.
package when

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Forms is what Parse understands, for usage texts and errors.
const Forms = `2026-11-20T14:05:00Z, "2026-11-20 14:05", 2026-11-20, 14:05, "yesterday 14:05", "last tuesday 14:05", "3h ago", "2 days ago", now, @1764000000`

// Parse reads a point in time. Without an offset it is in now's location; a day alone
// is its first moment; a time alone is today's. Ages ("3h ago") count back from now:
// days and weeks by the calendar, all others by the clock.
func Parse(text string, now time.Time) (time.Time, error) {
	s := strings.Join(strings.Fields(text), " ")
	if t, ok := zoned(s); ok {
		return t, nil
	}
	for _, form := range []func(string, time.Time) (time.Time, bool){epoch, ago, daily} {
		if t, ok := form(strings.ToLower(s), now); ok {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a point in time; write it as %s", text, Forms)
}

// zoned reads a time with its offset from UTC: RFC 3339, with a space in place of the T
// and before the offset, and without seconds, as people write it.
func zoned(s string) (time.Time, bool) {
	s = strings.ToUpper(s)
	if day, clock, ok := strings.Cut(s, " "); ok {
		s = day + "T" + strings.ReplaceAll(clock, " ", "")
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04Z0700"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// epoch reads @SECONDS.
func epoch(s string, now time.Time) (time.Time, bool) {
	digits, ok := strings.CutPrefix(s, "@")
	if !ok {
		return time.Time{}, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	// Beyond the year 9999 a time cannot be written in RFC 3339.
	if err != nil || n < 0 || n >= 253402300800 {
		return time.Time{}, false
	}
	return time.Unix(n, 0).In(now.Location()), true
}

var (
	agePattern = regexp.MustCompile(`^((?:\d{1,6} ?[a-z]+ ?)+)ago$`)
	agePart    = regexp.MustCompile(`(\d+) ?([a-z]+)`)
)

// ago reads "3h ago", "1 day 12 hours ago", "90min ago".
func ago(s string, now time.Time) (time.Time, bool) {
	m := agePattern.FindStringSubmatch(s)
	if m == nil {
		return time.Time{}, false
	}
	t := now
	for _, p := range agePart.FindAllStringSubmatch(m[1], -1) {
		n, err := strconv.Atoi(p[1])
		if err != nil {
			return time.Time{}, false
		}
		switch p[2] {
		case "s", "sec", "secs", "second", "seconds":
			t = t.Add(-time.Duration(n) * time.Second)
		case "m", "min", "mins", "minute", "minutes":
			t = t.Add(-time.Duration(n) * time.Minute)
		case "h", "hour", "hours":
			t = t.Add(-time.Duration(n) * time.Hour)
		case "d", "day", "days":
			t = t.AddDate(0, 0, -n)
		case "w", "week", "weeks":
			t = t.AddDate(0, 0, -7*n)
		case "month", "months":
			t = t.AddDate(0, -n, 0)
		case "y", "year", "years":
			t = t.AddDate(-n, 0, 0)
		default:
			return time.Time{}, false
		}
	}
	return t, true
}

// daily reads [DAY] [CLOCK], with at least one of the two.
func daily(s string, now time.Time) (time.Time, bool) {
	if s == "now" {
		return now, true
	}
	s = dateTimeT.ReplaceAllString(s, "$1 $2")
	date, clock := s, ""
	if i := strings.LastIndexByte(s, ' '); strings.Contains(s[i+1:], ":") {
		date, clock = s[:max(i, 0)], s[i+1:]
	}
	if s == "" {
		return time.Time{}, false
	}
	day, ok := dayOf(date, now)
	if !ok || clock == "" {
		return day, ok
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		if c, err := time.Parse(layout, clock); err == nil {
			y, m, d := day.Date()
			return time.Date(y, m, d, c.Hour(), c.Minute(), c.Second(), c.Nanosecond(), now.Location()), true
		}
	}
	return time.Time{}, false
}

var dateTimeT = regexp.MustCompile(`^(\d{4}-\d\d-\d\d)t(\d)`)

// dayOf is the first moment of the day: "2026-11-20", "yesterday", "tuesday" and "last
// tuesday" (the one before today), "" for today.
func dayOf(s string, now time.Time) (time.Time, bool) {
	y, m, d := now.Date()
	midnight := func(back int) (time.Time, bool) {
		return time.Date(y, m, d-back, 0, 0, 0, 0, now.Location()), true
	}
	switch s {
	case "", "today":
		return midnight(0)
	case "yesterday":
		return midnight(1)
	}
	name := strings.TrimPrefix(s, "last ")
	for back := 1; back <= 7; back++ {
		day := strings.ToLower(now.AddDate(0, 0, -back).Weekday().String())
		if name == day || name == day[:3] {
			return midnight(back)
		}
	}
	t, err := time.ParseInLocation(time.DateOnly, s, now.Location())
	return t, err == nil
}
