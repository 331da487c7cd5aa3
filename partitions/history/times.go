package history

import (
	"fmt"
	"strings"
	"time"
)

// timeBound is how far the clocks of a store and of a host may differ before a reader
// asks which of them is right.
const timeBound = 48 * time.Hour

// timeEpoch is before the first repository was made: no clock that works is behind it.
var timeEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Times says when commits were made, in the order of a log. That is their store time,
// unless that cannot be: a store whose clock was ahead once has given its time to all
// commits that follow, since store times never go back (docs/format.md 3.2). The zero
// value is for a log from its first commit on.
type Times struct {
	// Now is the reader's clock: what lies ahead of it by more than timeBound is not
	// believed. Zero = not known.
	Now time.Time

	at      time.Time // when the commit before was made; zero = not known
	stuck   time.Time // the store time that was last not believed
	doubted []commitRange
}

type commitRange struct{ from, to uint64 }

// Next is when the next commit was made; zero = nothing says it.
func (t *Times) Next(h Header) time.Time {
	at, believed := t.judge(h)
	if !believed {
		t.stuck = h.Time
		t.doubt(h.Number)
	}
	t.at = at
	return at
}

// Peek is Next for a commit that is not passed yet.
func (t *Times) Peek(h Header) time.Time {
	at, _ := t.judge(h)
	return at
}

// judge believes a store time that the host's clock confirms, or that continues the
// commit before. Otherwise the host's clock counts, not before that commit.
func (t *Times) judge(h Header) (at time.Time, believed bool) {
	if !t.ahead(h.Time) && !h.Time.Equal(t.stuck) && (t.confirmed(h) || !t.at.IsZero() && h.Time.Sub(t.at) <= timeBound) {
		return h.Time, true
	}
	if at = t.at; h.Clock.After(at) && !t.ahead(h.Clock) && h.Clock.Before(h.Time) {
		at = h.Clock
	}
	return at, false
}

// ahead says that a time is yet to come.
func (t *Times) ahead(at time.Time) bool { return !t.Now.IsZero() && at.Sub(t.Now) > timeBound }

// confirmed says that a host does not contradict the store. Only a store that is ahead
// is doubted: one that is behind cannot hide anything, and the past of an import is true.
func (t *Times) confirmed(h Header) bool {
	return h.Time.Sub(h.Clock) <= timeBound || h.Clock.Before(timeEpoch)
}

func (t *Times) doubt(n uint64) {
	if last := len(t.doubted) - 1; last >= 0 && t.doubted[last].to+1 == n {
		t.doubted[last].to = n
		return
	}
	t.doubted = append(t.doubted, commitRange{n, n})
}

// Doubts says for people which store times are not believed; "" = none.
func (t *Times) Doubts() string {
	if len(t.doubted) == 0 {
		return ""
	}
	var all []string
	for _, r := range t.doubted {
		if r.from == r.to {
			all = append(all, fmt.Sprint(r.from))
		} else {
			all = append(all, fmt.Sprintf("%d to %d", r.from, r.to))
		}
	}
	if len(all) == 1 && t.doubted[0].from == t.doubted[0].to {
		return fmt.Sprintf("the store time of commit %s is too far ahead and ignored: using the clock of the host that wrote it instead", all[0])
	}
	return fmt.Sprintf("the store times of commits %s are too far ahead and ignored: using the clocks of the hosts that wrote them instead",
		strings.Join(all, ", "))
}
