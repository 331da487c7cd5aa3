package when

import (
	"fmt"
	"time"
)

// Past is Parse for a moment that something is to be shown or brought back as of: one
// that is still to come is a mistake, as "23:00" is in the small hours.
func Past(text string, now time.Time) (time.Time, error) {
	t, err := Parse(text, now)
	if err == nil && t.After(now) {
		err = fmt.Errorf("%q is %s, which is still to come", text, t.In(now.Location()).Format("2006-01-02 15:04:05 -0700"))
	}
	return t, err
}

// Through is the last instant that is meant by a moment at the end of something. All
// that the tools print is to the second: who repeats that means the whole of the second.
func Through(t time.Time) time.Time {
	if t.Nanosecond() == 0 {
		return t.Add(time.Second - 1)
	}
	return t
}
