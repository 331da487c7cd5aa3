package storeclock

import (
	"log/slog"
	"time"
)

// notes record which states of the clocks were logged: each state and its end are logged once.
type notes struct {
	odd     time.Time // of the last rejected answer; zero: times are accepted again
	wrong   bool      // answers have been rejected for long
	differs bool      // the clocks of host and store differ
	ahead   bool      // a log has a time in the future
}

// rejected logs an answer with a time that was rejected.
func (n *notes) rejected(log *slog.Logger, r reading, believed time.Time) {
	if n.odd.IsZero() && log != nil {
		log.Warn("the store reported a time that fits neither this host's clock nor the store's other answers: the time is ignored",
			"stated", second(r.stated), "host", second(r.here), "believed", second(believed))
	}
	n.odd = r.here
}

// report logs what has changed with the answer r.
func (c *Clock) report(r reading) {
	n, log := &c.notes, c.Log
	if log == nil {
		return
	}
	differs := c.differs(r)
	switch {
	case differs && !n.differs:
		store := c.stated(r)
		log.Error("the clocks of this host and of the store differ: correct the wrong one (NTP). The store's time is used",
			"host", second(r.here), "store", second(store), "difference", store.Sub(r.here).Round(time.Second).String())
	case !differs && n.differs && !c.own:
		log.Info("the clocks of this host and of the store agree again")
	}
	n.differs = differs
	if !n.wrong && (c.own || c.odd.lasted(overturnAfter)) {
		n.wrong = true
		log.Error("the clock of the store is wrong: its time is ignored until the clock is corrected (NTP)",
			"store", second(r.stated), "host", second(r.here), "believed", second(c.estimate(r.here)))
	}
	if c.odd.n == 0 && !n.odd.IsZero() && !c.own && r.here.Sub(n.odd) >= overturnAfter {
		log.Info("the times that the store reports are accepted again")
		n.odd, n.wrong = time.Time{}, false
	}
}

// differs reports whether the host's clock differs from the store's. Before any answer is
// accepted, a series of consistent answers is taken as the store's clock.
func (c *Clock) differs(r reading) bool {
	bound := reported
	if c.notes.differs {
		bound /= 2
	}
	switch {
	case c.own:
		return false // the store's clock is wrong, and that is logged instead
	case len(c.last) == 0:
		return c.odd.lasted(10 * Pause) // longer than Settle takes
	case len(c.last) < Answers:
		return c.notes.differs // one answer changes nothing
	}
	return !near(c.estimate(r.here), r.here, bound)
}

func second(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// stated is the store's time, even before any answer was accepted.
func (c *Clock) stated(r reading) time.Time {
	if len(c.last) == 0 {
		return r.stated
	}
	return c.estimate(r.here)
}

// NoteAhead logs, once, that a backup has a commit with a time in the future.
func (c *Clock) NoteAhead(backup string, number uint64, newest, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.notes.ahead || c.Log == nil {
		return
	}
	c.notes.ahead = true
	c.Log.Warn("a commit has a time in the future, and the commits after it will repeat that time: the tools use the clocks of the hosts instead. "+
		"If the time is not in the future, set the clocks. Other backups of this partition may have the same problem; they are not logged",
		"backup", backup, "number", number, "time", second(newest), "now", second(now))
}
