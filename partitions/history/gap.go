package history

import (
	"errors"
	"strings"
)

// Gap is a run of commits that a state lacks, since they cannot be read.
type Gap struct {
	From, To uint64
	Err      error // why
	// Bridged is the commit whose bridged event names them, so that the log goes on
	// without them; 0 = none does.
	Bridged uint64
}

// Reasons of a LostRange.
const (
	LostMissing = "missing" // no object holds the commits
	LostDamaged = "damaged" // their bytes cannot be read
)

// Range is the gap as a bridged event names it.
func (g Gap) Range() LostRange {
	r := LostRange{From: g.From, To: g.To, Reason: LostDamaged}
	if errors.Is(g.Err, ErrAbsent) {
		r.Reason = LostMissing
	}
	return r
}

// String names the commits and why they are gone.
func (g Gap) String() string { return g.Range().String() }

// Gaps are the commits between the checkpoint that the state came from and its last
// commit that could not be read, ascending. Only a Tolerant moment has any that no bridged
// event names.
func (m *Mem) Gaps() []Gap { return m.gaps }

// Skipped are the damaged checkpoints that were skipped in favour of an older one.
func (m *Mem) Skipped() []Damage { return m.skipped }

// MissingCommits describes the gaps that no bridged event names; "" = there are none.
func (m *Mem) MissingCommits() string {
	var out []string
	for _, g := range m.unbridged() {
		out = append(out, g.String())
	}
	return strings.Join(out, ", ")
}

// Bridged are the commits that the bridged events of applied commits name.
func (m *Mem) Bridged() []LostRange { return m.bridged }

func (m *Mem) unbridged() (out []Gap) {
	for _, g := range m.gaps {
		if g.Bridged == 0 {
			out = append(out, g)
		}
	}
	return out
}

// gap notes that commits could not be read.
func (m *Mem) gap(from, to uint64, err error) {
	m.lenient = true
	g := Gap{From: from, To: to, Err: err}
	if last := len(m.gaps) - 1; last >= 0 && m.gaps[last].To+1 == from && m.gaps[last].Range().Reason == g.Range().Reason {
		m.gaps[last].To = to
		return
	}
	m.gaps = append(m.gaps, g)
}

// skip goes on after commits that cannot be read.
func (m *Mem) skip(from, to uint64, err error) {
	m.gap(from, to, err)
	m.tip = Tip{Number: to, Time: m.tip.Time}
}

// bridge notes that a commit names gaps.
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
