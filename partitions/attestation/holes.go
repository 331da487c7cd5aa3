package attestation

import "github.com/cyrusbackup/backupd/partitions/history"

// Span is a run of commits.
type Span struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// mostHoles is how many holes the line of a backup has. The last one then includes all others.
const mostHoles = 8

// holes returns the commits that a log lacks between its first one and a number. The log has lost them before, and a bridge
// names them.
func holes(s *history.Survey, to uint64) (all []Span) {
	for n := s.First; n > 0 && n <= to; {
		from, last := s.Hole(n, to)
		if from == 0 {
			return all
		}
		if len(all) == mostHoles {
			all[mostHoles-1].To = last
		} else {
			all = append(all, Span{from, last})
		}
		n = last + 1
	}
	return all
}

// newHole returns commits before that of the entry that the log lacks, and had; zeros = none.
func (e *Entry) newHole(s *history.Survey) (from, to uint64) {
	for n := max(s.First, e.First, 1); n <= e.Number; {
		from, to = s.Hole(n, e.Number)
		if from == 0 {
			return 0, 0
		}
		known := false
		for _, l := range e.Lost {
			if l.From <= from && from <= l.To {
				if l.To >= to {
					known = true
				} else {
					from = l.To + 1
				}
			}
		}
		if !known {
			return from, to
		}
		n = to + 1
	}
	return 0, 0
}
