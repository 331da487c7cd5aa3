package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// results are all measurements, for the JSON output.
type results struct {
	Reps   int      `json:"repetitions"`
	Phases []*table `json:"phases"`
}

// table is one phase of a workload on all servers.
type table struct {
	Workload string                   `json:"workload"`
	Phase    string                   `json:"phase"`
	Servers  []string                 `json:"servers"`
	Measured map[string][]measurement `json:"measured"`
}

func (r *results) add(w workload, phase, server string, m measurement) {
	i := slices.IndexFunc(r.Phases, func(t *table) bool { return t.Workload == w.name && t.Phase == phase })
	if i < 0 {
		i = len(r.Phases)
		r.Phases = append(r.Phases, &table{Workload: w.name, Phase: phase, Measured: map[string][]measurement{}})
	}
	t := r.Phases[i]
	if !slices.Contains(t.Servers, server) {
		t.Servers = append(t.Servers, server)
	}
	t.Measured[server] = append(t.Measured[server], m)
}

// row is one figure of a table. Some rows have no meaningful ratio.
type row struct {
	name  string
	value func(measurement) float64
	ratio bool
}

var rows = []row{
	{"wall s", func(m measurement) float64 { return m.Seconds }, true},
	{"messages/s", func(m measurement) float64 { return float64(m.Messages) / m.Seconds }, true},
	{"MB/s", func(m measurement) float64 { return float64(m.Bytes) / 1e6 / m.Seconds }, true},
	{"server CPU s", func(m measurement) float64 { return m.ServerCPU }, true},
	{"store CPU s", func(m measurement) float64 { return m.StoreCPU }, false},
	{"client CPU s", func(m measurement) float64 { return m.ClientCPU }, false},
	{"peak RSS MiB", func(m measurement) float64 { return m.PeakRSS }, true},
	{"kept MB", func(m measurement) float64 { return m.Kept }, true},
}

func (r *results) write(w io.Writer) error {
	var b strings.Builder
	for _, t := range r.Phases {
		t.append(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *table) append(b *strings.Builder) {
	const reference = "debian"
	fmt.Fprintf(b, "\n%-32s", t.Phase)
	for _, s := range t.Servers {
		fmt.Fprintf(b, " %18s", s)
	}
	b.WriteByte('\n')
	for _, r := range rows {
		fmt.Fprintf(b, "  %-30s", r.name)
		ref := median(t.Measured[reference], r.value)
		for _, s := range t.Servers {
			v := median(t.Measured[s], r.value)
			cell := fmt.Sprintf("%.3f", v)
			if v >= 100 {
				cell = fmt.Sprintf("%.0f", v)
			}
			if r.ratio && ref > 0 && s != reference {
				cell += fmt.Sprintf(" (%5.2f)", v/ref)
			} else {
				cell += strings.Repeat(" ", 8)
			}
			fmt.Fprintf(b, " %18s", cell)
		}
		b.WriteByte('\n')
	}
}

func median(ms []measurement, value func(measurement) float64) float64 {
	if len(ms) == 0 {
		return 0
	}
	v := make([]float64, len(ms))
	for i, m := range ms {
		v[i] = value(m)
	}
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
