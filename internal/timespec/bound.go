package timespec

import (
	"fmt"
	"time"
)

// Past is Parse for a moment in the past. A moment in the future is a mistake, for example "23:00"
// shortly after midnight.
func Past(text string, now time.Time) (Moment, error) {
	m, err := Parse(text, now)
	if err == nil && m.After(now) {
		err = fmt.Errorf("%q is %s, which is in the future", text, m.Format(Layout))
		if _, yesterday := Parse("yesterday "+text, now); yesterday == nil {
			err = fmt.Errorf(`%w; write "yesterday %s" for the day before`, err, text)
		}
	}
	return m, err
}

// Through returns the last instant that a moment at the end of a range includes. The tools print
// seconds, so a moment that a user copies from them means the whole second.
func Through(t time.Time) time.Time {
	if t.Nanosecond() == 0 {
		return t.Add(time.Second - 1)
	}
	return t
}
