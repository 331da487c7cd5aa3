// Package storeclock estimates the time of a store from its answers (docs/design.md,
// "Store time"). No single answer decides. Commit times never go back, so a wrong time
// in a commit would stay in the log forever; a time in the future does the most harm.
package storeclock

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	// Bound is the largest difference between two clocks that agree. S3 itself refuses
	// requests from hosts with a larger one.
	Bound = 15 * time.Minute
	// reported is the difference between the clocks of host and store that is logged.
	reported = time.Minute
	// agree is the largest difference between two answers of one series.
	agree = time.Minute
	// Answers is the number of answers that decide.
	Answers = 3
	// Pause is the time between two requests of Settle.
	Pause = time.Second
	// overturnAfter is how long the store has to contradict its earlier answers until
	// the new ones are accepted. A shorter contradiction is a passing fault.
	overturnAfter = 10 * time.Minute
	// farAhead is the limit for a store that is ahead of both the host and the log.
	farAhead = 365 * 24 * time.Hour
)

// epoch precedes the first repository. A clock that shows an earlier time is wrong.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Clock estimates the time of a store. The zero value is ready to use.
type Clock struct {
	Log   *slog.Logger  // nil: nothing is logged
	Pause time.Duration // between two requests of Settle; 0: the constant Pause

	mu       sync.Mutex
	last     []reading // the last accepted answers, at most Answers
	own      bool      // last holds the host's clock, because the store's is wrong
	odd      series    // rejected answers since the last accepted one
	rejected int       // their number
	notes    notes
}

// reading is a time that the store reported, and the host's clock at that moment.
type reading struct {
	stated, here time.Time
}

// at extrapolates the reading to a later moment. Both times of the host have a monotonic
// reading, so setting the host's clock in between changes nothing.
func (r reading) at(here time.Time) time.Time { return r.stated.Add(here.Sub(r.here)) }

// series is a sequence of answers that agree with each other.
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

// lasted reports whether enough answers have agreed for the duration d.
func (s *series) lasted(d time.Duration) bool {
	return s.n >= Answers && s.last.here.Sub(s.first.here) >= d
}

func near(a, b time.Time, d time.Duration) bool { return a.Sub(b).Abs() <= d }

// Now estimates the store's time. Without an accepted answer it returns here, the host's
// time.
func (c *Clock) Now(here time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.estimate(here)
}

// Sure reports whether enough answers of the store were accepted that no single one decides.
func (c *Clock) Sure() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.last) == Answers && !c.own
}

// estimate returns the median of the last accepted answers, so that a single answer that
// is wrong by less than Bound has no effect either. Of two answers it takes the earlier.
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

// Observe takes the time that the store reported in an answer; zero is ignored. The time
// is accepted if it fits the host's clock or the answers before it.
func (c *Clock) Observe(stated, here time.Time) {
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
		c.accept(r)
	case fitsStore, fitsHost: // after a suspend of the host, which monotonic clocks do not count, only the host fits
		c.restart(r)
	default:
		c.odd.add(r)
		c.rejected++
		c.notes.rejected(c.Log, r, expected)
		if c.contradicted(expected) {
			c.restart(r)
		}
	}
	c.report(r)
}

func (c *Clock) accept(r reading) {
	c.last = append(c.last, r)
	c.last = c.last[max(0, len(c.last)-Answers):]
	c.own, c.odd, c.rejected = false, series{}, 0
}

// restart accepts an answer and drops all earlier ones.
func (c *Clock) restart(r reading) {
	c.last = nil
	c.accept(r)
}

// contradicted reports whether the store has contradicted its earlier answers for so long
// that they are dropped. They are kept while the host's clock confirms them, because then
// it is two against one.
func (c *Clock) contradicted(expected time.Time) bool {
	return len(c.last) > 0 && c.odd.lasted(overturnAfter) && !near(expected, c.odd.last.here, Bound)
}

// undecided reports whether all answers so far were rejected. Nothing may be written
// before Settle has decided.
func (c *Clock) undecided() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.last) == 0 && c.odd.n > 0
}

// Settle decides which clock is right when the store's first answers contradict the
// host's clock. It calls ask up to Answers times, with a pause between the calls; ask is
// any request whose answer is passed to Observe. newest is the time of the newest commit
// in the log, or zero. If nothing is in doubt, Settle returns at once.
func (c *Clock) Settle(ctx context.Context, ask func(context.Context), newest time.Time) {
	pause := c.Pause
	if pause == 0 {
		pause = Pause
	}
	for n := range Answers {
		if !c.undecided() {
			return
		}
		if n > 0 {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
		}
		ask(ctx)
	}
	c.decide(newest)
}

// decide chooses between a store and a host that have differed since the first answer.
// newest is the time of the newest commit in the log, the third witness, or zero.
func (c *Clock) decide(newest time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.last) > 0 || c.rejected < Answers { // the store is unreachable
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

// credible reports whether a store with consistent answers wins against the host. It
// does, because all hosts share its clock, unless the log confirms the host's: the store's
// time is before the newest commit and the host's is not, or the store is ahead of both by
// more than a year.
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
	return r.stated.Sub(r.here) <= farAhead || r.stated.Sub(newest) <= farAhead
}
