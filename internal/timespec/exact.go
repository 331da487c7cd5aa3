package timespec

import (
	"strconv"
	"strings"
	"time"
)

// zoned parses a time with an offset from UTC: RFC 3339, also with a space instead of the T and
// before the offset, and without seconds.
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

// epoch parses @SECONDS.
func epoch(s string, now time.Time) (time.Time, bool) {
	digits, ok := strings.CutPrefix(s, "@")
	if !ok {
		return time.Time{}, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	// RFC 3339 cannot express years after 9999.
	if err != nil || n < 0 || n >= 253402300800 {
		return time.Time{}, false
	}
	return time.Unix(n, 0).In(now.Location()), true
}
