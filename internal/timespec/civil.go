package timespec

import (
	"errors"
	"fmt"
	"time"
)

// civil is a time as a calendar and a wall clock show it. Either instant is set, or the other fields.
type civil struct {
	instant time.Time // independent of the calendar: "now", "3h ago"
	wall    time.Time // calendar and clock, written as if they were UTC
	dayOnly bool      // a day without a time means its first moment
}

var errForm = errors.New("is not a point in time; write " + Forms)

// in returns the instant at which the wall clock of a zone shows c.
func (c civil) in(z zone) (Moment, error) {
	if !c.instant.IsZero() {
		return Moment{Time: c.instant}, nil
	}
	found, gap := instants(c.wall, z.location)
	if z.abbreviation != "" {
		return c.named(z, found)
	}
	const clock = "2006-01-02 15:04:05"
	switch {
	case len(found) == 0 && gap.IsZero():
		return Moment{}, errForm
	case len(found) == 0 && c.dayOnly: // the day begins at 01:00
		return Moment{Time: gap}, nil
	case len(found) == 0:
		return Moment{gap, fmt.Sprintf("the clock of %s never showed %s: it was put forward; using %s",
			z.name(), c.wall.Format(clock), gap.Format(Layout))}, nil
	case len(found) > 1 && !c.dayOnly:
		return Moment{found[0], fmt.Sprintf("the clock of %s showed %s twice: using %s; write %q for the other",
			z.name(), c.wall.Format(clock), found[0].Format(Layout), found[len(found)-1].Format(Layout))}, nil
	}
	return Moment{Time: found[0]}, nil
}

// named returns the instant at which the zone uses the abbreviation. It refuses "14:05 CET" on a day
// in July, because the user may mean the wall clock.
func (c civil) named(z zone, found []time.Time) (Moment, error) {
	for _, t := range found {
		if name, _ := t.Zone(); name == z.abbreviation {
			return Moment{Time: t}, nil
		}
	}
	if len(found) == 0 {
		return Moment{}, fmt.Errorf("is a time that the clock of %s skipped", z.location)
	}
	name, _ := found[0].Zone()
	return Moment{}, fmt.Errorf("is ambiguous: on that day %s has %s, not %s. Write the offset, or %s for local time",
		z.location, name, z.abbreviation, z.location)
}

// instants returns the moments at which the clock of a location shows wall, the earliest first. If
// there are none because the clock was put forward, gap is the moment of that change.
func instants(wall time.Time, l *time.Location) (found []time.Time, gap time.Time) {
	const most = 26 * time.Hour // no zone is further from UTC, and ordinary clock changes are further apart
	for t := wall.Add(-most).In(l); ; {
		_, offset := t.Zone()
		at := wall.Add(-time.Duration(offset) * time.Second).In(l)
		if _, o := at.Zone(); o == offset && !contains(found, at) {
			found = append(found, at)
		}
		_, end := t.ZoneBounds()
		if end.IsZero() || end.After(wall.Add(most)) {
			break
		}
		_, next := end.Zone()
		// After the change by the old offset, before it by the new one.
		if !at.Before(end) && wall.Add(-time.Duration(next)*time.Second).Before(end) {
			gap = end
		}
		t = end
	}
	return found, gap
}

func contains(list []time.Time, t time.Time) bool {
	for _, x := range list {
		if x.Equal(t) {
			return true
		}
	}
	return false
}
