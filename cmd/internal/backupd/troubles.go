package backupd

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyrusbackup/backupd/partitions"
)

// troubleMetrics show the unavailable partitions and the number of unavailable backups
// (docs/errors.md).
type troubleMetrics struct {
	now        func() []partitions.Trouble
	backups    *prometheus.Desc
	partitions *prometheus.Desc
}

func newTroubleMetrics(now func() []partitions.Trouble) *troubleMetrics {
	return &troubleMetrics{
		now: now,
		backups: prometheus.NewDesc("cyrus_backupd_unavailable_backups",
			"Backups that cannot be used; their users are deferred.", []string{"kind"}, nil),
		partitions: prometheus.NewDesc("cyrus_backupd_unavailable_partition",
			"1 for each partition that cannot be used; its users are deferred.", []string{"partition", "kind"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *troubleMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.backups
	ch <- m.partitions
}

// Collect implements prometheus.Collector.
func (m *troubleMetrics) Collect(ch chan<- prometheus.Metric) {
	backups := map[string]map[string]bool{} // by kind and path: a backup can be in the list twice
	parts := map[[2]string]bool{}
	for _, t := range m.now() {
		if t.Backup == "" {
			parts[[2]string{t.Partition, t.Kind}] = true
			continue
		}
		if backups[t.Kind] == nil {
			backups[t.Kind] = map[string]bool{}
		}
		backups[t.Kind][t.Backup] = true
	}
	for kind, paths := range backups {
		ch <- prometheus.MustNewConstMetric(m.backups, prometheus.GaugeValue, float64(len(paths)), kind)
	}
	for p := range parts {
		ch <- prometheus.MustNewConstMetric(m.partitions, prometheus.GaugeValue, 1, p[0], p[1])
	}
}
