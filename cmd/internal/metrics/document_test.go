package metrics

import (
	"bytes"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/metrics.md")

const document = "../../../docs/metrics.md"

// docs/metrics.md is what the code says. make metrics writes it.
func TestDocument(t *testing.T) {
	all, err := Definitions()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Document(&b, all); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(document, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	is, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(is, b.Bytes()) {
		t.Error("docs/metrics.md is old: make metrics writes it")
	}
}

// Names and texts follow the conventions of Prometheus.
func TestConventions(t *testing.T) {
	all, err := Definitions()
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`^cyrus_backupd_[a-z]+(_[a-z]+)*$`)
	unit := regexp.MustCompile(`(_seconds|_bytes|_total|_info)$`)
	seen := map[string]bool{}
	for _, d := range all {
		if !name.MatchString(d.Name) || seen[d.Name] {
			t.Errorf("%s: not a good name, or used twice", d.Name)
		}
		seen[d.Name] = true
		if (d.Type == "counter") != strings.HasSuffix(d.Name, "_total") {
			t.Errorf("%s is a %s: counters, and only they, end in _total", d.Name, d.Type)
		}
		if strings.HasSuffix(d.Name, "_timestamp") || strings.Contains(d.Name, "milli") || strings.Contains(d.Name, "_age") && !unit.MatchString(d.Name) {
			t.Errorf("%s: the unit is missing, or no base unit", d.Name)
		}
		if !strings.HasSuffix(d.Help, ".") && !strings.HasSuffix(d.Help, ")") || strings.ToUpper(d.Help[:1]) != d.Help[:1] {
			t.Errorf("%s: %q is not a sentence", d.Name, d.Help)
		}
		for _, l := range d.Labels {
			if l == "user" || l == "backup" || l == "mailbox" {
				t.Errorf("%s has the label %s: its values are as many as users", d.Name, l)
			}
		}
	}
}
