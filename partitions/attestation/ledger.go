package attestation

import (
	"fmt"
	"slices"
)

const (
	// mostFacts is how many findings about lists one run reports.
	mostFacts = 1000
	// mostOpen is how many of them a header records, and mostAccepted how many accepted ones it remembers: the newest.
	mostOpen, mostAccepted = 40, 300
	// mostOfEntry is how many findings the line of a backup has: the first ones, and the last one.
	mostOfEntry = 8
)

// facts are the findings about lists of one run. The lists in a bucket show most of them again in every run.
type facts []Finding

func (f *facts) add(one *Finding) {
	switch {
	case slices.ContainsFunc(*f, one.same):
	case len(*f) < mostFacts:
		*f = append(*f, *one)
	case len(*f) == mostFacts:
		*f = append(*f, *finding(OfList, "there is more to report about lists: look at %s in the bucket", Prefix))
	}
}

// ledger are the findings about lists: open ones, and accepted ones.
type ledger struct {
	open     []Finding
	accepted []Accepted
}

// settle returns the ledger of list n, which follows the header before (nil = there is none). A person accepts what lists up
// to upTo have recorded.
func settle(before *Header, found facts, n, upTo uint64) ledger {
	var l ledger
	if before != nil {
		l.accepted = slices.Clone(before.Accepted)
		for _, f := range before.Findings {
			if f.Since > upTo {
				l.open = append(l.open, f)
				continue
			}
			l.accepted = append(l.accepted, Accepted{ID: f.id(), Text: shorter(f.Text), Since: f.Since, List: n})
		}
	}
	for _, f := range found {
		if l.has(&f) {
			continue
		}
		f.Since = n
		l.open = append(l.open, f)
	}
	l.accepted = l.accepted[max(0, len(l.accepted)-mostAccepted):]
	return l
}

// has reports whether a finding is in the ledger.
func (l *ledger) has(f *Finding) bool {
	id := f.id()
	return slices.ContainsFunc(l.open, f.same) || slices.ContainsFunc(l.accepted, func(a Accepted) bool { return a.ID == id })
}

// recorded are the findings for a header. If there are too many, the others are found again as long as the
// bucket shows them.
func (l *ledger) recorded(n uint64) []Finding {
	if len(l.open) <= mostOpen {
		return l.open
	}
	rest := *finding(OfList, "%d more findings about lists: see the messages of ctl_backups seal for list %d", len(l.open)-mostOpen+1, n)
	rest.Since = n
	return append(slices.Clone(l.open[:mostOpen-1]), rest)
}

// shorter is the beginning of a text.
func shorter(text string) string {
	const most = 120
	if len(text) <= most {
		return text
	}
	return fmt.Sprintf("%.*s…", most, text)
}

// openAfter returns the findings of an entry that are not accepted; e may be nil. All stay until all are accepted.
func openAfter(e *Entry, upTo uint64) []Finding {
	if e == nil || !slices.ContainsFunc(e.Findings, func(f Finding) bool { return f.Since > upTo }) {
		return nil
	}
	return e.Findings
}

// record adds a finding to the entry for list n, unless it is known that this commit is missing.
func (e *Entry) record(f *Finding, n uint64) {
	if e.knows(f) {
		return
	}
	one := *f
	one.Since = n
	if len(e.Findings) >= mostOfEntry {
		e.Findings = e.Findings[:mostOfEntry-1]
	}
	e.Findings = append(slices.Clone(e.Findings), one)
}

// knows reports whether the entry has a finding of this kind about the same commit.
func (e *Entry) knows(f *Finding) bool {
	return slices.ContainsFunc(e.Findings, func(g Finding) bool { return f.Kind == g.Kind && f.Number == g.Number && f.Hash == g.Hash })
}
