package record

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	x := &Table{Title: "How long.", Reference: "Debian"}
	for _, v := range []float64{30, 20, 25} {
		x.Add("first sync", "Debian", Wall, v)
	}
	for _, v := range []float64{2.5, 2.5, 2} {
		x.Add("first sync", "ours", Wall, v)
	}
	x.Add("nothing new", "ours", Wall, 0.04)
	x.Add("first sync", "ours", ClientCPU, 1)
	x.Add("first sync", "Debian", ClientCPU, 2)
	want := `How long.

| | Debian | ours |
|---|---|---|
| first sync: wall s | 25.0 (20.0-30.0) | 2.50 (2-2.50), 0.10× |
| client CPU s | 2 | 1 |
| nothing new: wall s |  | 0.04 |
`
	if got := x.Markdown(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.0123: "0.012", 0.1: "0.10", 1: "1", 2.345: "2.35", 34.56: "34.6", 345.6: "346", 999.7: "1,000", 1234: "1,230",
		65249: "65,200", 1234567: "1,230,000",
	} {
		if got := Number(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}

func TestReplace(t *testing.T) {
	const doc = "# A\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nrest\n"
	got, err := Replace(doc, "x", "| new |\n")
	if want := "# A\n<!-- bench:x -->\n| new |\n<!-- /bench:x -->\nrest\n"; err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
	again, err := Replace(got, "x", "| new |\n")
	if err != nil || again != got {
		t.Errorf("a second time: %q, %v", again, err)
	}
	for _, bad := range []string{"", doc + doc, "<!-- /bench:x -->\n<!-- bench:x -->"} {
		if _, err := Replace(bad, "x", ""); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

func TestGoalsKeepWhatWasNotMeasured(t *testing.T) {
	first := Goals("", []Goal{{Work: "list", Want: "≤ 1 s", Now: "0.5 s", Met: true}, {Work: "stat", Want: "≤ 2 s"}})
	if !strings.Contains(first, "| list | ≤ 1 s | 0.5 s | yes |\n") || !strings.Contains(first, "| stat | ≤ 2 s | not measured | |\n") {
		t.Error(first)
	}
	second := Goals(first, []Goal{{Work: "list", Want: "≤ 1 s"}, {Work: "stat", Want: "≤ 2 s", Now: "3 s"}})
	if !strings.Contains(second, "| list | ≤ 1 s | 0.5 s | yes |\n") || !strings.Contains(second, "| stat | ≤ 2 s | 3 s | no |\n") {
		t.Error(second)
	}
	if third := Goals(second, []Goal{{Work: "list", Want: "≤ 0.1 s"}}); !strings.Contains(third, "| list | ≤ 0.1 s | not measured | |\n") {
		t.Errorf("the old figure stays beside another goal: %s", third)
	}
}

func TestChanges(t *testing.T) {
	for _, c := range []struct {
		name          string
		metric        Metric
		before, after Sample
		changed       bool
		worse         bool
	}{
		{"slower", Wall, Sample{1, 1.1, 1.2}, Sample{1.5, 1.4, 1.6}, true, true},
		{"faster", Wall, Sample{1.5, 1.4, 1.6}, Sample{1, 1.1, 1.2}, true, false},
		{"ranges overlap", Wall, Sample{1, 1.1, 2}, Sample{1.5, 1.9, 3}, false, false},
		{"apart, but within the tolerance", Wall, Sample{1, 1.01, 1.02}, Sample{1.04, 1.05, 1.06}, false, false},
		{"too short to measure", Wall, Sample{0.01, 0.01, 0.01}, Sample{0.03, 0.03, 0.03}, false, false},
		{"a count has no noise", Requests, Sample{100, 100, 100}, Sample{102, 102, 102}, true, true},
		{"a higher rate is better", Rate, Sample{1000, 1100}, Sample{2000, 2100}, true, false},
		{"a lower rate is worse", Rate, Sample{2000, 2100}, Sample{1000, 1100}, true, true},
		{"the client is not ours to judge", ClientCPU, Sample{1, 1}, Sample{5, 5}, false, false},
		{"not measured", Wall, Sample{1}, nil, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := &Table{Name: "small"}
			for _, v := range c.before {
				x.Add("first sync", "directory"+Before, c.metric, v)
			}
			for _, v := range c.after {
				x.Add("first sync", "directory"+After, c.metric, v)
			}
			got := x.Changes()
			if (len(got) == 1) != c.changed || c.changed && got[0].Worse != c.worse {
				t.Errorf("%v", got)
			}
		})
	}
}
