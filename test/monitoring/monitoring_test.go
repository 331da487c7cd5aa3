// Package monitoring tests the alerts and the dashboard in docs/monitoring.
package monitoring

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const dir = "../../docs/monitoring"

// alert is a rule of alerts.yml.
type alert struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func alerts(t *testing.T) (out []alert) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []alert `yaml:"rules"`
		} `yaml:"groups"`
	}
	decode(t, "alerts.yml", yaml.Unmarshal, &file)
	for _, g := range file.Groups {
		out = append(out, g.Rules...)
	}
	if len(out) == 0 {
		t.Fatal("no alerts")
	}
	return out
}

func decode(t *testing.T, name string, unmarshal func([]byte, any) error, v any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err == nil {
		err = unmarshal(b, v)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// The rules are valid, and fire and clear as the files beside them say. promtool comes with Debian's
// prometheus: make deps.
func TestRules(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}, {"test", "rules", "alerts_slow_test.yml"},
	} {
		cmd := exec.CommandContext(t.Context(), "promtool", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// Each alert has a test in which it fires, and one in which it does not fire later.
func TestEachAlertIsTested(t *testing.T) {
	fires, clears := map[string]bool{}, map[string]bool{}
	for _, name := range []string{"alerts_test.yml", "alerts_slow_test.yml"} {
		var file struct {
			Tests []struct {
				Checks []struct {
					Name   string `yaml:"alertname"`
					Alerts []any  `yaml:"exp_alerts"`
				} `yaml:"alert_rule_test"`
			} `yaml:"tests"`
		}
		decode(t, name, yaml.Unmarshal, &file)
		for _, x := range file.Tests {
			fired := map[string]bool{}
			for _, c := range x.Checks {
				switch {
				case len(c.Alerts) > 0:
					fires[c.Name], fired[c.Name] = true, true
				case fired[c.Name]:
					clears[c.Name] = true
				}
			}
		}
	}
	for _, a := range alerts(t) {
		if !fires[a.Alert] || !clears[a.Alert] {
			t.Errorf("%s: a test fires it: %v; clears it after that: %v", a.Alert, fires[a.Alert], clears[a.Alert])
		}
	}
}

// Each alert has what a pager shows, and a section of backup-runbook(7).
func TestAlertsHaveRunbooks(t *testing.T) {
	page, err := os.ReadFile("../../docs/man/backup-runbook.7.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts(t) {
		if s := a.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", a.Alert, s)
		}
		for _, k := range []string{"summary", "description", "runbook"} {
			if a.Annotations[k] == "" {
				t.Errorf("%s: no %s", a.Alert, k)
			}
		}
		if !strings.Contains(string(page), "\n# "+a.Annotations["runbook"]+"\n") {
			t.Errorf("%s: backup-runbook(7) has no section %q", a.Alert, a.Annotations["runbook"])
		}
	}
}

// panel is a panel of the dashboard.
type panel struct {
	Title   string
	Targets []struct{ Expr string }
}

func panels(t *testing.T) []panel {
	t.Helper()
	var board struct{ Panels []panel }
	decode(t, "dashboard.json", json.Unmarshal, &board)
	return board.Panels
}

const prefix = "cyrus_backupd_"

var (
	metricName = regexp.MustCompile(prefix + `[a-z_]+`)
	metricRow  = regexp.MustCompile("(?m)^\\| `(" + prefix + "[a-z_]+)` \\| ([a-z]+) \\| ([a-z_, ]*) \\|")
)

// definition is a row of docs/metrics.md.
type definition struct {
	name, kind string
	labels     []string
}

func definitions(t *testing.T) map[string]definition {
	t.Helper()
	b, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]definition{}
	for _, m := range metricRow.FindAllStringSubmatch(string(b), -1) {
		out[m[1]] = definition{m[1], m[2], strings.Split(m[3], ", ")}
	}
	if len(out) < 50 {
		t.Fatalf("docs/metrics.md has %d metrics", len(out))
	}
	return out
}

// Every metric of the alerts and of the dashboard exists with the labels that they select, and the
// dashboard shows nearly all.
func TestMetricsExist(t *testing.T) {
	known := definitions(t)
	shown := map[string]bool{}
	check := func(where, expr string) {
		for _, at := range metricName.FindAllStringIndex(expr, -1) {
			name := expr[at[0]:at[1]]
			d, ok := known[name]
			for _, suffix := range []string{"_bucket", "_count", "_sum"} {
				if base, cut := strings.CutSuffix(name, suffix); !ok && cut && known[base].kind == "histogram" {
					d, ok = known[base], true
				}
			}
			if !ok {
				t.Errorf("%s: %s is not in docs/metrics.md", where, name)
			}
			shown[d.name] = true
			checkLabels(t, where, d, expr[at[1]:])
		}
	}
	for _, a := range alerts(t) {
		check(a.Alert, a.Expr)
	}
	for _, p := range panels(t) {
		for _, x := range p.Targets {
			check(p.Title, x.Expr)
		}
	}
	for _, name := range []string{"running", "backups_read_timestamp_seconds", "partition_checked_timestamp_seconds",
		"packs", "condemned_packs", "packs_counted_timestamp_seconds", "last_run_duration_seconds", "last_run_backups", "mail_servers", "index_set_aside"} {
		shown[prefix+name] = true // of little use in a graph
	}
	for name := range known {
		if !shown[name] {
			t.Errorf("neither the dashboard nor an alert shows %s", name)
		}
	}
}

var selected = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!=|!~|=)`)

// checkLabels checks the labels in the braces after a metric.
func checkLabels(t *testing.T, where string, d definition, rest string) {
	t.Helper()
	if !strings.HasPrefix(rest, "{") {
		return
	}
	end := strings.IndexByte(rest, '}')
	for _, m := range selected.FindAllStringSubmatch(rest[:end], -1) {
		label := m[1]
		ok := label == "instance" || label == "job" || label == "le" && d.kind == "histogram"
		for _, l := range d.labels {
			ok = ok || l == label
		}
		if !ok {
			t.Errorf("%s: %s has no label %s", where, d.name, label)
		}
	}
}

// promtool reads the expressions of the dashboard, with the variables replaced.
func TestDashboardExpressions(t *testing.T) {
	t.Parallel()
	type rule struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var rules []rule
	variables := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*")
	for _, p := range panels(t) {
		for _, x := range p.Targets {
			rules = append(rules, rule{"x", variables.Replace(x.Expr)})
		}
	}
	if len(rules) < 30 {
		t.Fatalf("the dashboard has %d expressions", len(rules))
	}
	b, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err == nil {
		err = os.WriteFile(file, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "promtool", "check", "rules", "--lint=none", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
