package record

import (
	"fmt"
	"math"
	"strings"
)

// Markdown returns the table: medians, in parentheses the lowest and highest repetition, and the
// ratio to the reference.
func (t *Table) Markdown() string {
	var b strings.Builder
	if t.Title != "" {
		fmt.Fprintf(&b, "%s\n\n", t.Title)
	}
	b.WriteString("| |")
	for _, c := range t.Columns {
		fmt.Fprintf(&b, " %s |", c)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(t.Columns)) + "\n")
	work := ""
	for i, r := range t.Rows {
		name := string(r.Metric)
		if (i == 0 || r.Work != work) && r.Work != "" {
			name = r.Work + ": " + name
		}
		work = r.Work
		fmt.Fprintf(&b, "| %s |", name)
		for _, c := range t.Columns {
			fmt.Fprintf(&b, " %s |", t.cell(r, c))
		}
		b.WriteByte('\n')
	}
	if t.Note != "" {
		fmt.Fprintf(&b, "\n%s\n", t.Note)
	}
	return b.String()
}

func (t *Table) cell(r *Row, column string) string {
	s := r.Samples[column]
	if len(s) == 0 {
		return ""
	}
	text := Number(s.Median())
	if lo, hi := Number(s.Min()), Number(s.Max()); lo != hi {
		text += " (" + lo + "-" + hi + ")"
	}
	ref := r.Samples[t.Reference].Median()
	if column != t.Reference && ref > 0 && !r.Metric.secondary() {
		text += fmt.Sprintf(", %s×", Number(s.Median()/ref))
	}
	return text
}

// Number returns a figure with three digits, and commas between thousands.
func Number(v float64) string {
	a := math.Abs(v)
	switch {
	case a >= 999.5:
		unit := math.Pow(10, math.Floor(math.Log10(a))-2)
		return thousands(int64(math.Round(math.Round(v/unit) * unit)))
	case a >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.0995 || a == 0:
		return strings.TrimSuffix(fmt.Sprintf("%.2f", v), ".00")
	default:
		return fmt.Sprintf("%.2g", v)
	}
}

func thousands(n int64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
