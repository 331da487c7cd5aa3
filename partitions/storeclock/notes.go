package storeclock

import (
	"log/slog"
	"time"
)

// clockNotes log the state of the clocks: each state once, and its end.
type notes struct {
	odd     time.Time // when an answer was last not believed; zero = that is over
	wrong   bool      // and that has lasted
	differs bool      // the host's clock is not the store's
	ahead   bool      // a log with a time that is yet to come
}

// refused notes an answer that is not believed.
func (n *notes) refused(log *slog.Logger, r reading, believed time.Time) {
	if n.odd.IsZero() && log != nil {
		log.Warn("the store stated a time that fits neither the clock of this host nor the store's other answers: it is not believed",
			"stated", second(r.stated), "host", second(r.here), "believed", second(believed))
	}
	n.odd = r.here
}

// report logs what has changed with an answer.
func (c *Clock) report(r reading) {
	n, log := &c.notes, c.Log
	if log == nil {
		return
	}
	differs := c.differs(r)
	switch {
	case differs && !n.differs:
		store := c.stated(r)
		log.Error("the clocks of this host and of the store differ: correct the wrong one (NTP). The store's counts",
			"host", second(r.here), "store", second(store), "difference", store.Sub(r.here).Round(time.Second).String())
	case !differs && n.differs && !c.own:
		log.Info("the clocks of this host and of the store agree again")
	}
	n.differs = differs
	if !n.wrong && (c.own || c.odd.lasted(patience)) {
		n.wrong = true
		log.Error("the clock of the store is wrong: its time is not believed until it is set (NTP)",
			"store", second(r.stated), "host", second(r.here), "believed", second(c.estimate(r.here)))
	}
	if c.odd.n == 0 && !n.odd.IsZero() && !c.own && r.here.Sub(n.odd) >= patience {
		log.Info("the times that the store states are believed again")
		n.odd, n.wrong = time.Time{}, false
	}
}

// differs says that the host's clock is not the store's: the one that is believed, or
// the one that the store has stated several times before anything could be.
func (c *Clock) differs(r reading) bool {
	bound := reported
	if c.notes.differs {
		bound /= 2
	}
	switch {
	case c.own:
		return false // it is the store's that is wrong, which is said instead
	case len(c.last) == 0:
		return c.odd.lasted(10 * Pause) // longer than a second opinion takes
	case len(c.last) < Answers:
		return c.notes.differs // not for one answer
	}
	return !near(c.estimate(r.here), r.here, bound)
}

func second(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// stated is the store's time, also while nothing is believed yet.
func (c *Clock) stated(r reading) time.Time {
	if len(c.last) == 0 {
		return r.stated
	}
	return c.estimate(r.here)
}

// noteAhead says that a log carries a time that is yet to come.
func (c *Clock) NoteAhead(backup string, number uint64, newest, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.notes.ahead || c.Log == nil {
		return
	}
	c.notes.ahead = true
	c.Log.Warn("a commit carries a time that is yet to come, and the commits after it will repeat it: the tools use the clocks of the hosts instead. "+
		"If it is not yet to come, set the clocks. Other backups of this partition may have the same and are not named",
		"backup", backup, "number", number, "time", second(newest), "now", second(now))
}
