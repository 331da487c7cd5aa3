package timespec

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// readCivil parses a text in lower case, without its zone.
func readCivil(s string, now time.Time) (civil, error) {
	if s == "now" {
		return civil{instant: now}, nil
	}
	if c, ok := age(s, now); ok {
		return c, nil
	}
	s = dateTimeT.ReplaceAllString(s, "$1 $2")
	date, clock, given, err := cutClock(s)
	if err != nil {
		return civil{}, err
	}
	if s == "" || date == "" && !given {
		return civil{}, errForm
	}
	day, err := dayOf(date, now)
	if err != nil {
		return civil{}, err
	}
	return civil{wall: day.Add(clock), dayOnly: !given}, nil
}

var (
	dateTimeT    = regexp.MustCompile(`^(\d{4}-\d\d-\d\d)t(\d)`)
	clockPattern = `(\d{1,2})(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?(?: ?([ap])m)?|noon|midnight`
	clockLast    = regexp.MustCompile(`^(?:(.*?),? (?:at )?)?(` + clockPattern + `)$`)
	clockFirst   = regexp.MustCompile(`^(` + clockPattern + `) (?:on )?(.+)$`)
)

// cutClock removes the time of day from the end or the beginning of a text.
func cutClock(s string) (date string, clock time.Duration, given bool, err error) {
	s = strings.TrimPrefix(s, "at ")
	if m := clockLast.FindStringSubmatch(s); m != nil {
		if clock, given, err = timeOfDay(m[2:]); given || err != nil {
			return m[1], clock, given, midnightOf(m[1], m[2], err)
		}
	}
	if m := clockFirst.FindStringSubmatch(s); m != nil {
		if clock, given, err = timeOfDay(m[1:7]); given || err != nil {
			return m[7], clock, given, midnightOf(m[7], m[1], err)
		}
	}
	return s, 0, false, nil
}

// midnightOf refuses "midnight" with a day, because it may be its first or its last moment.
func midnightOf(day, clock string, err error) error {
	if err == nil && clock == "midnight" && day != "" && day != "today" {
		return errors.New("is ambiguous: write 00:00 with the day that begins")
	}
	return err
}

// timeOfDay parses the groups of clockPattern. A number alone is not a time of day.
func timeOfDay(m []string) (clock time.Duration, given bool, err error) {
	switch m[0] {
	case "noon":
		return 12 * time.Hour, true, nil
	case "midnight":
		return 0, true, nil
	}
	if m[2] == "" && m[5] == "" {
		return 0, false, nil
	}
	hour, minute, second := number(m[1]), number(m[2]), number(m[3])
	if m[5] != "" {
		if hour < 1 || hour > 12 {
			return 0, true, errForm
		}
		hour %= 12
		if m[5] == "p" {
			hour += 12
		}
	}
	if hour > 23 || minute > 59 || second > 59 {
		return 0, true, errForm
	}
	fraction := number((m[4] + "000000000")[:9])
	return time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second + time.Duration(fraction), true, nil
}

// number parses digits; the patterns limit their number.
func number(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}

var (
	yearFirst = regexp.MustCompile(`^(\d{4})-(\d\d)-(\d\d)$`)
	dotted    = regexp.MustCompile(`^(\d{1,2})\. ?(\d{1,2})\. ?(\d{4})$`)
	slashed   = regexp.MustCompile(`^(\d{1,4})([/-])(\d{1,2})[/-](\d{1,4})$`)
	dayMonth  = regexp.MustCompile(`^(?:([a-z]+),? )?(\d{1,2})(?:st|nd|rd|th|\.)?[ -]([a-z]+)\.?,?[ -](\d{4})$`)
	monthDay  = regexp.MustCompile(`^(?:([a-z]+),? )?([a-z]+)\.? (\d{1,2})(?:st|nd|rd|th)?,? (\d{4})$`)
	dayAlone  = regexp.MustCompile(`^(?:last |on )`)
)

// dayOf returns the beginning of a calendar day, as if it were UTC: "2026-11-20", "27 nov 2026",
// "26.11.2026", "yesterday", "tuesday" and "last tuesday" (the one before today), "" for today.
func dayOf(s string, now time.Time) (time.Time, error) {
	today := wall(now)
	back := func(n int) time.Time {
		return time.Date(today.Year(), today.Month(), today.Day()-n, 0, 0, 0, 0, time.UTC)
	}
	switch s {
	case "", "today":
		return back(0), nil
	case "yesterday":
		return back(1), nil
	}
	if d, ok := weekday(dayAlone.ReplaceAllString(s, "")); ok {
		return back((int(today.Weekday()-d)+6)%7 + 1), nil
	}
	if m := yearFirst.FindStringSubmatch(s); m != nil {
		return date(number(m[1]), number(m[2]), number(m[3]), "")
	}
	if m := dotted.FindStringSubmatch(s); m != nil {
		return date(number(m[3]), number(m[2]), number(m[1]), "")
	}
	if m := slashed.FindStringSubmatch(s); m != nil {
		return inNumbers(m)
	}
	if m := dayMonth.FindStringSubmatch(s); m != nil {
		return date(number(m[4]), month(m[3]), number(m[2]), m[1])
	}
	if m := monthDay.FindStringSubmatch(s); m != nil {
		return date(number(m[4]), month(m[2]), number(m[3]), m[1])
	}
	return time.Time{}, errForm
}

// inNumbers parses 2026/11/20, and 20/11/2026 or 11/20/2026 if only one day is possible.
func inNumbers(m []string) (time.Time, error) {
	a, b, c := number(m[1]), number(m[3]), number(m[4])
	if len(m[1]) == 4 && m[2] == "/" && len(m[4]) <= 2 {
		return date(a, b, c, "")
	}
	if len(m[1]) > 2 || len(m[4]) != 4 {
		return time.Time{}, errForm
	}
	dayFirst, err1 := date(c, b, a, "")
	monthFirst, err2 := date(c, a, b, "")
	switch {
	case err1 == nil && err2 == nil && a != b:
		return time.Time{}, fmt.Errorf("is ambiguous: write %s for %s, or %s for %s", dayFirst.Format(time.DateOnly), dayFirst.Format("2 January"),
			monthFirst.Format(time.DateOnly), monthFirst.Format("2 January"))
	case err1 == nil:
		return dayFirst, nil
	}
	return monthFirst, err2
}

// date refuses days that do not exist, and a weekday that does not match.
func date(y, m, d int, name string) (time.Time, error) {
	t := time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC)
	if t.Year() != y || t.Month() != time.Month(m) || t.Day() != d || m == 0 {
		return time.Time{}, errForm
	}
	if name == "" {
		return t, nil
	}
	w, ok := weekday(name)
	switch {
	case !ok:
		return time.Time{}, errForm
	case w != t.Weekday():
		return time.Time{}, fmt.Errorf("is ambiguous: %s is a %s", t.Format(time.DateOnly), t.Weekday())
	}
	return t, nil
}

func weekday(name string) (time.Weekday, bool) {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if full := strings.ToLower(d.String()); name == full || name == full[:3] {
			return d, true
		}
	}
	return 0, false
}

// month returns the number of a month; 0 = unknown name.
func month(name string) int {
	for m := time.January; m <= time.December; m++ {
		if full := strings.ToLower(m.String()); name == full || name == full[:3] || name == "sept" && m == time.September {
			return int(m)
		}
	}
	return 0
}
