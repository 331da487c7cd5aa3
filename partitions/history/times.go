package history

import (
	"fmt"
	"strings"
	"time"
)

// timeBound is how far the clocks of a store and a host may differ before a reader
// decides which of them is right.
const timeBound = 48 * time.Hour

// timeEpoch is before the first repository was made: no working clock shows an earlier time.
var timeEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Times determines when commits were made, in the order of a log. This is normally their
// store time. But if the clock of a store was ahead once, all later commits have that
// wrong time too, because store times never go back (docs/format.md 3.2). The zero value
// is for a log from its first commit.
type Times struct {
	// Now is the reader's clock. Times more than timeBound later are ignored. Zero =
	// unknown.
	Now time.Time

	at      time.Time // when the previous commit was made; zero = unknown
	stuck   time.Time // the last store time that was ignored
	ignored []commitRange
}

type commitRange struct{ from, to uint64 }

// Next returns when the next commit was made; zero = unknown.
func (t *Times) Next(h Header) time.Time {
	at, ok := t.judge(h)
	if !ok {
		t.stuck = h.Time
		t.ignore(h.Number)
	}
	t.at = at
	return at
}

// Peek is like Next, but does not advance.
func (t *Times) Peek(h Header) time.Time {
	at, _ := t.judge(h)
	return at
}

// judge accepts a store time if the host's clock confirms it, or if it is close to that of
// the previous commit. Otherwise it uses the host's clock, but no time before the previous
// commit.
func (t *Times) judge(h Header) (at time.Time, ok bool) {
	if !t.ahead(h.Time) && !h.Time.Equal(t.stuck) && (t.confirmed(h) || !t.at.IsZero() && h.Time.Sub(t.at) <= timeBound) {
		return h.Time, true
	}
	if at = t.at; h.Clock.After(at) && !t.ahead(h.Clock) && h.Clock.Before(h.Time) {
		at = h.Clock
	}
	return at, false
}

// ahead reports whether a time is in the future.
func (t *Times) ahead(at time.Time) bool { return !t.Now.IsZero() && at.Sub(t.Now) > timeBound }

// confirmed reports whether the host's clock agrees with the store time. Only a store time
// that is too late is a problem: an early one hides no commits, and imports have true
// times in the past.
func (t *Times) confirmed(h Header) bool {
	return h.Time.Sub(h.Clock) <= timeBound || h.Clock.Before(timeEpoch)
}

func (t *Times) ignore(n uint64) {
	if last := len(t.ignored) - 1; last >= 0 && t.ignored[last].to+1 == n {
		t.ignored[last].to = n
		return
	}
	t.ignored = append(t.ignored, commitRange{n, n})
}

// Doubts describes for people which store times are ignored; "" = none.
func (t *Times) Doubts() string {
	if len(t.ignored) == 0 {
		return ""
	}
	var all []string
	for _, r := range t.ignored {
		if r.from == r.to {
			all = append(all, fmt.Sprint(r.from))
		} else {
			all = append(all, fmt.Sprintf("%d to %d", r.from, r.to))
		}
	}
	if len(all) == 1 && t.ignored[0].from == t.ignored[0].to {
		return fmt.Sprintf("the store time of commit %s is too far ahead and ignored: using the clock of the host that wrote it instead", all[0])
	}
	return fmt.Sprintf("the store times of commits %s are too far ahead and ignored: using the clocks of the hosts that wrote them instead",
		strings.Join(all, ", "))
}
