package backupd

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyrusbackup/backupd/partitions"
)

func TestTroubleMetrics(t *testing.T) {
	r := prometheus.NewRegistry()
	r.MustRegister(newTroubleMetrics(func() []partitions.Trouble {
		return []partitions.Trouble{
			{Backup: "user/anne", Kind: "damage"}, {Backup: "user/anne", Kind: "damage"}, {Backup: "user/bert", Kind: "damage"},
			{Partition: "cold", Kind: "denied"}, {Partition: "cold", Kind: "denied"},
		}
	}))
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, m := range f.Metric {
			got = append(got, f.GetName()+m.String())
		}
	}
	text := strings.Join(got, "\n")
	for _, want := range []string{"unavailable_backups", `"damage"`, "value:2", "unavailable_partition", `"cold"`, "value:1"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}
