package timespec

import (
	"fmt"
	"time"
)

// Past is Parse for a moment in the past. A moment that is still to come is a mistake, as
// "23:00" is in the small hours.
func Past(text string, now time.Time) (Moment, error) {
	m, err := Parse(text, now)
	if err == nil && m.After(now) {
		err = fmt.Errorf("%q is %s, which is still to come", text, m.Format(Layout))
		if _, yesterday := Parse("yesterday "+text, now); yesterday == nil {
			err = fmt.Errorf(`%w; write "yesterday %s" for the day before`, err, text)
		}
	}
	return m, err
}

// Through is the last instant that is meant by a moment at the end of something. All
// that the tools print is to the second: who repeats that means the whole of the second.
func Through(t time.Time) time.Time {
	if t.Nanosecond() == 0 {
		return t.Add(time.Second - 1)
	}
	return t
}
