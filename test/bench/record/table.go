package record

import "slices"

// A Table has the figures of one workload: a row for each work and metric, and a column for each
// program or size.
type Table struct {
	Name      string   `json:"name"` // of its place in the document
	Title     string   `json:"title"`
	Note      string   `json:"note,omitempty"`
	Reference string   `json:"reference,omitempty"` // the column that ratios refer to
	Columns   []string `json:"columns"`             // in the order of their first figure
	Rows      []*Row   `json:"rows"`
}

// A Row is one metric of one piece of work.
type Row struct {
	Work    string            `json:"work"`
	Metric  Metric            `json:"metric"`
	Samples map[string]Sample `json:"samples"` // by column
}

// Add adds the figure of a repetition.
func (t *Table) Add(work, column string, m Metric, v float64) {
	if !slices.Contains(t.Columns, column) {
		t.Columns = append(t.Columns, column)
	}
	r := t.row(work, m)
	if r == nil {
		r = &Row{Work: work, Metric: m, Samples: map[string]Sample{}}
		t.insert(r)
	}
	r.Samples[column] = append(r.Samples[column], v)
}

// insert adds a row after the others of its work.
func (t *Table) insert(r *Row) {
	at := len(t.Rows)
	for at > 0 && t.Rows[at-1].Work != r.Work {
		at--
	}
	if at == 0 {
		at = len(t.Rows)
	}
	t.Rows = slices.Insert(t.Rows, at, r)
}

func (t *Table) row(work string, m Metric) *Row {
	for _, r := range t.Rows {
		if r.Work == work && r.Metric == m {
			return r
		}
	}
	return nil
}

// Get returns the figures of a cell, nil if nothing was measured.
func (t *Table) Get(work, column string, m Metric) Sample {
	if r := t.row(work, m); r != nil {
		return r.Samples[column]
	}
	return nil
}
