package record

import (
	"fmt"
	"math"
	"strings"
)

// A Change is a figure that differs between two builds by more than the noise.
type Change struct {
	Table, Work, Column string
	Metric              Metric
	Before, After       Sample
	Worse               bool
}

func (c Change) String() string {
	name := strings.Join([]string{c.Table, c.Work, c.Column, string(c.Metric)}, ", ")
	return fmt.Sprintf("%s: %s → %s (%+.0f %%; %s-%s, %s-%s)", name, Number(c.Before.Median()), Number(c.After.Median()),
		100*(c.After.Median()/c.Before.Median()-1),
		Number(c.Before.Min()), Number(c.Before.Max()), Number(c.After.Min()), Number(c.After.Max()))
}

// Suffixes of the columns of two builds.
const (
	Before = ", before"
	After  = ", after"
)

// Changes compares the columns NAME, before and NAME, after of a table. A figure has changed if
// all repetitions of one build are beyond all of the other, and if the medians differ by more
// than the metric's tolerance and its smallest difference.
func (t *Table) Changes() (all []Change) {
	for _, r := range t.Rows {
		if r.Metric.secondary() {
			continue
		}
		for _, c := range t.Columns {
			name, ok := strings.CutSuffix(c, Before)
			if !ok {
				continue
			}
			x := Change{Table: t.Name, Work: r.Work, Column: name, Metric: r.Metric, Before: r.Samples[c], After: r.Samples[name+After]}
			if x.beyondNoise() {
				all = append(all, x)
			}
		}
	}
	return all
}

// beyondNoise also sets Worse.
func (c *Change) beyondNoise() bool {
	if len(c.Before) == 0 || len(c.After) == 0 || c.Before.Median() == 0 {
		return false
	}
	if math.Abs(c.After.Median()-c.Before.Median()) < c.Metric.least() {
		return false
	}
	ratio := c.After.Median() / c.Before.Median()
	up := c.After.Min() > c.Before.Max() && ratio > 1+c.Metric.tolerance()
	down := c.After.Max() < c.Before.Min() && ratio < 1/(1+c.Metric.tolerance())
	c.Worse = up != c.Metric.more()
	return up || down
}
