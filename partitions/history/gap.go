package history

import (
	"errors"
	"strings"
)

// Gap is a run of unreadable commits, which are missing from a state.
type Gap struct {
	From, To uint64
	Err      error // why
	// Bridged is the commit with a bridged event for the gap, which lets the log continue;
	// 0 = none.
	Bridged uint64
}

// Reasons of a LostRange.
const (
	LostMissing = "missing" // no object contains the commits
	LostDamaged = "damaged" // their bytes cannot be read
)

// Range returns the gap in the form of a bridged event.
func (g Gap) Range() LostRange {
	r := LostRange{From: g.From, To: g.To, Reason: LostDamaged}
	if errors.Is(g.Err, ErrAbsent) {
		r.Reason = LostMissing
	}
	return r
}

// String names the commits and the reason.
func (g Gap) String() string { return g.Range().String() }

// Gaps returns the unreadable commits between the checkpoint that the state was read from
// and its last commit, ascending. Only a Tolerant moment has gaps without a bridged event.
func (m *Mem) Gaps() []Gap { return m.gaps }

// Skipped returns the damaged checkpoints that were skipped in favour of an older one.
func (m *Mem) Skipped() []Damage { return m.skipped }

// Unfinished returns an error, ErrUnfinished, if a copy of the log has not put all of it. The state may
// lack the rest, even if MissingCommits returns nothing.
func (m *Mem) Unfinished() error { return m.copying }

// MissingCommits describes the gaps without a bridged event; "" = none.
func (m *Mem) MissingCommits() string {
	var out []string
	for _, g := range m.unbridged() {
		out = append(out, g.String())
	}
	return strings.Join(out, ", ")
}

// Bridged returns the commits named by the bridged events in applied commits.
func (m *Mem) Bridged() []LostRange { return m.bridged }

func (m *Mem) unbridged() (out []Gap) {
	for _, g := range m.gaps {
		if g.Bridged == 0 {
			out = append(out, g)
		}
	}
	return out
}

// gap records unreadable commits.
func (m *Mem) gap(from, to uint64, err error) {
	m.lenient = true
	g := Gap{From: from, To: to, Err: err}
	if last := len(m.gaps) - 1; last >= 0 && m.gaps[last].To+1 == from && m.gaps[last].Range().Reason == g.Range().Reason {
		m.gaps[last].To = to
		return
	}
	m.gaps = append(m.gaps, g)
}

// skip records unreadable commits and continues after them.
func (m *Mem) skip(from, to uint64, err error) {
	m.gap(from, to, err)
	m.tip = Tip{Number: to, Time: m.tip.Time}
}

// bridge marks the gaps that the bridged event of a commit names.
func (m *Mem) bridge(number uint64, e *BridgedEvent) {
	m.bridged = append(m.bridged, e.Lost...)
	for i, g := range m.gaps {
		for _, r := range e.Lost {
			if r.From <= g.From && g.To <= r.To {
				m.gaps[i].Bridged = number
			}
		}
	}
}
