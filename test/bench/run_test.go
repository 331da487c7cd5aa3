package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/test/bench/record"
)

func TestDocumentHasAPlaceForEveryTable(t *testing.T) {
	b, err := os.ReadFile("../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names(workloads()), "run", "goals") {
		if _, err := record.Between(string(b), name); err != nil {
			t.Error(err)
		}
	}
}

// A line that was not measured keeps its earlier text, which is found by its name.
func TestGoalsHaveDifferentNames(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range goals(nil) {
		if seen[g.Work] {
			t.Errorf("%q is there twice", g.Work)
		}
		if seen[g.Work] = true; g.Now != "" || g.Met {
			t.Errorf("%q was not measured: %+v", g.Work, g)
		}
	}
}

func TestAFailureDoesNotStopTheOthers(t *testing.T) {
	errBroken := errors.New("broken")
	measured := func(_ context.Context, _ *lab, x *record.Table, rep int) error {
		x.Add("work", "ours", record.Wall, float64(rep))
		return nil
	}
	broken := func(_ context.Context, _ *lab, x *record.Table, rep int) error {
		x.Add("work", "ours", record.Wall, float64(rep))
		if rep == 1 {
			return errBroken
		}
		return nil
	}
	slow := func(ctx context.Context, _ *lab, _ *record.Table, _ int) error {
		<-ctx.Done()
		return errors.New("killed")
	}
	l := &lab{options: options{reps: 3, limit: time.Millisecond}, log: io.Discard}
	var got []string
	err := l.runAll(t.Context(), []workload{{name: "broken", run: broken}, {name: "slow", run: slow}, {name: "good", run: measured}},
		func(x *record.Table, complete bool) error {
			if complete {
				got = append(got, x.Name)
			}
			return nil
		})
	if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "--limit") || !slices.Equal(got, []string{"good"}) {
		t.Errorf("complete %v, error %v", got, err)
	}
}

func TestUnknownWorkload(t *testing.T) {
	l := &lab{options: options{workloads: "small,nosuch"}}
	if _, err := l.selected(); err == nil || !strings.Contains(err.Error(), `"nosuch"`) {
		t.Error(err)
	}
}

func TestReportOfAComparison(t *testing.T) {
	x := &record.Table{Name: "small"}
	for i := range 3 {
		x.Add("first sync", "directory"+record.Before, record.CPU, 1+float64(i)/100)
		x.Add("first sync", "directory"+record.After, record.CPU, 2+float64(i)/100)
	}
	var out bytes.Buffer
	if err := report(&out, x.Changes()); !errors.Is(err, errWorse) || !strings.Contains(out.String(), "first sync, directory, CPU s: 1.01 → 2.01") {
		t.Errorf("%v: %s", err, out.String())
	}
	out.Reset()
	if err := report(&out, nil); err != nil || strings.Count(out.String(), "nothing") != 2 {
		t.Errorf("%v: %s", err, out.String())
	}
}

// The programs run in other directories than bench.
func TestRelativePaths(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs our programs")
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "bin")+"/", "github.com/cyrusbackup/backupd/cmd/...")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	t.Chdir(dir)
	doc := ""
	for _, name := range []string{"run", "goals", "scale"} {
		doc += "<!-- bench:" + name + " -->\n<!-- /bench:" + name + " -->\n"
	}
	if err := os.WriteFile("doc.md", []byte(doc), 0o644); err != nil {
		t.Fatal(err)
	}
	o, err := parse([]string{"--bin", "bin", "--docs", "doc.md", "--out", "out.json", "--workloads", "scale", "--sizes", "100", "--reps", "1"})
	if err == nil {
		err = measure(t.Context(), o, io.Discard)
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("doc.md")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := record.Between(string(b), "scale"); err != nil || !strings.Contains(text, "| ctl_backups stat: wall s |") {
		t.Errorf("%v: %s", err, b)
	}
	if host, err := os.Hostname(); err == nil && len(host) > 3 && strings.Contains(string(b), host) {
		t.Error("the document names the host")
	}
	if _, err := os.Stat("out.json"); err != nil {
		t.Error(err)
	}
}
