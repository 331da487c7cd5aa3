// Package storeclock estimates the time of a store from its answers (docs/design.md,
// "Store time"). A single wrong answer must not decide anything: commit times never go
// back, so that one wrong time would stay in a log for ever. A time in the future is the
// dangerous kind.
package storeclock

import (
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	// clockBound is how far two clocks may differ without being called different. S3
	// itself refuses requests of hosts that are further off.
	Bound = 15 * time.Minute
	// clockTold is how far the clocks of host and store may differ without being reported.
	reported = time.Minute
	// clockAgree is how far the odd answers of one series may differ from each other.
	agree = time.Minute
	// clockAnswers is how many answers decide. One never does.
	Answers = 3
	// clockPause lies between the questions when an opinion is asked for.
	Pause = time.Second
	// clockPatience is how long a store has to contradict its own earlier answers
	// before that is more than a passing fault.
	patience = 10 * time.Minute
	// clockFar: a store that is further ahead of the host and of the log is never believed.
	far = 365 * 24 * time.Hour
)

// clockEpoch is before the first repository was made: no clock that works is behind it.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// storeClock estimates the store's clock between and against its answers. The zero value
// knows nothing yet.
type Clock struct {
	Log   *slog.Logger  // nil = nothing is logged
	Pause time.Duration // between questions; 0 = clockPause

	mu    sync.Mutex
	last  []reading // the last clockAnswers that are believed
	own   bool      // last is the host's clock: the store's is known to be wrong
	odd   series    // of answers that are not believed, without one between them that is
	notes notes

	refused int // answers that were not believed since the last one that was
}

// reading is a stated time, and the host's clock at that moment.
type reading struct {
	stated, here time.Time
}

// at is the reading's idea of a later moment. The difference is one of monotonic clocks:
// a host whose clock is set meanwhile changes nothing.
func (r reading) at(here time.Time) time.Time { return r.stated.Add(here.Sub(r.here)) }

// series is a row of answers that agree with each other.
type series struct {
	first, last reading
	n           int
}

func (s *series) add(r reading) {
	if s.n == 0 || !near(s.last.at(r.here), r.stated, agree) {
		*s = series{first: r}
	}
	s.last = r
	s.n++
}

// lasted says that enough answers agreed, for so long.
func (s *series) lasted(d time.Duration) bool {
	return s.n >= Answers && s.last.here.Sub(s.first.here) >= d
}

func near(a, b time.Time, d time.Duration) bool { return a.Sub(b).Abs() <= d }

// now is the store's time as far as it is believed; here itself while nothing is.
func (c *Clock) Now(here time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.estimate(here)
}

// estimate is the median of what the last answers say: a single one that is wrong by
// less than clockBound does not count either. Of two it is the earlier.
func (c *Clock) estimate(here time.Time) time.Time {
	if len(c.last) == 0 {
		return here
	}
	var all []time.Time
	for _, r := range c.last {
		all = append(all, r.at(here))
	}
	slices.SortFunc(all, time.Time.Compare)
	return all[(len(all)-1)/2]
}

// saw takes what an answer of the store states; zero is nothing. It is believed if it
// fits the host's clock or the answers before it.
func (c *Clock) Saw(stated, here time.Time) {
	if stated.IsZero() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := reading{stated, here}
	expected := c.estimate(here)
	fitsHost, fitsStore := near(stated, here, Bound), len(c.last) > 0 && near(stated, expected, Bound)
	switch {
	case fitsStore && !c.own:
		c.believe(r)
	case fitsStore, fitsHost: // the latter as after a pause of the whole host, which monotonic clocks do not see
		c.restart(r)
	default:
		c.odd.add(r)
		c.refused++
		c.notes.refused(c.Log, r, expected)
		if c.contradicted(expected) {
			c.restart(r)
		}
	}
	c.report(r)
}

func (c *Clock) believe(r reading) {
	c.last = append(c.last, r)
	c.last = c.last[max(0, len(c.last)-Answers):]
	c.own, c.odd, c.refused = false, series{}, 0
}

// restart believes an answer against those before it.
func (c *Clock) restart(r reading) {
	c.last = nil
	c.believe(r)
}

// contradicted says that the store has contradicted its earlier answers for so long that
// these do not count any more. As long as the host's clock confirms them they do: then
// it is two against one.
func (c *Clock) contradicted(expected time.Time) bool {
	return len(c.last) > 0 && c.odd.lasted(patience) && !near(expected, c.odd.last.here, Bound)
}

// undecided says that the store has stated a time that needs a second opinion before
// anything is written with it.
func (c *Clock) undecided() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.last) == 0 && c.odd.n > 0
}

// decide chooses between a store and a host that differ from the first answer on. newest
// is the time of the newest commit of the log, the third witness; zero = there is none.
func (c *Clock) decide(newest time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.last) > 0 || c.refused < Answers { // the store is unreachable
		return
	}
	r := c.odd.last
	if c.odd.n >= Answers && credible(r, newest) {
		c.restart(r)
	} else {
		c.last, c.own = []reading{{r.here, r.here}}, true
	}
	c.report(r)
}

// credible says whether a store that agrees with itself is believed against the host. It
// is, as the one clock that all hosts share, unless the log confirms the host's: the
// store is behind the newest commit, and the host is not; or the store is ahead of both
// by more than a year.
func credible(r reading, newest time.Time) bool {
	if newest.Before(epoch) {
		newest = epoch
	}
	least := newest.Add(-Bound)
	switch {
	case r.here.Before(least):
		return true
	case r.stated.Before(least):
		return false
	}
	return r.stated.Sub(r.here) <= far || r.stated.Sub(newest) <= far
}
