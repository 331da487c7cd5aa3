package maintenance

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// Policy is what retention keeps.
type Policy struct {
	// Keep is how long every moment is kept, and everything that was deleted; 0 = for ever, and
	// retention does nothing.
	Keep time.Duration
	// Daily, Weekly, Monthly and Yearly are for how many older days, weeks, months and years the
	// last moment is kept, in UTC. Only periods with a moment count.
	Daily, Weekly, Monthly, Yearly int
	// DeletedFolders is the age at which a folder that the mail server has deleted with delay counts
	// as deleted; 0 = never.
	DeletedFolders time.Duration
	DeletedPrefix  string
	// LogMinAge is the age, in the store, of the youngest object of a log that is removed.
	LogMinAge time.Duration
}

// String describes the policy for people: "30d, daily 7".
func (p *Policy) String() string {
	text := "every moment of " + days(p.Keep)
	for _, r := range p.rules() {
		if r.most > 0 {
			text += fmt.Sprintf(", %s %d", r.name, r.most)
		}
	}
	return text
}

func days(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return d.String()
}

// rule keeps the last moment of each of the last periods.
type rule struct {
	name   string
	most   int
	period func(time.Time) string
}

func (p *Policy) rules() []rule {
	week := func(t time.Time) string {
		year, week := t.ISOWeek()
		return fmt.Sprint(year, week)
	}
	return []rule{
		{"daily", p.Daily, func(t time.Time) string { return t.Format("2006-01-02") }},
		{"weekly", p.Weekly, week},
		{"monthly", p.Monthly, func(t time.Time) string { return t.Format("2006-01") }},
		{"yearly", p.Yearly, func(t time.Time) string { return t.Format("2006") }},
	}
}

// KeptMoment is a moment before the log that retention keeps, and the rules that keep it.
type KeptMoment struct {
	history.Kept
	Rules []string
}

// choose returns the moments that the rules keep, ascending. A moment whose time is unknown is kept.
func (p *Policy) choose(moments []history.Kept) []KeptMoment {
	moments = slices.Clone(moments)
	slices.SortFunc(moments, func(a, b history.Kept) int { return cmp.Compare(b.Number, a.Number) })
	why := map[uint64][]string{}
	for _, r := range p.rules() {
		last, left := "", r.most
		for _, m := range moments {
			if m.Time.IsZero() {
				continue
			}
			if period := r.period(m.Time.UTC()); period != last && left > 0 {
				why[m.Number] = append(why[m.Number], r.name)
				last, left = period, left-1
			}
		}
	}
	var kept []KeptMoment
	for _, m := range slices.Backward(moments) {
		rules := why[m.Number]
		if m.Time.IsZero() {
			rules = []string{"its time is unknown"}
		}
		if len(rules) > 0 {
			kept = append(kept, KeptMoment{m, rules})
		}
	}
	return kept
}
