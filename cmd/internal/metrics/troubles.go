package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyrusbackup/backupd/partitions"
)

// troubles are the metrics of what cannot be used (docs/errors.md).
type troubles struct {
	now                 func() []partitions.Trouble
	backups, partitions *family
}

func newTroubles(c *catalogue, now func() []partitions.Trouble) *troubles {
	c.begin("Trouble")
	return &troubles{
		now:        now,
		backups:    c.gauge("unavailable_backups", "Backups that cannot be used; their users are deferred. The kinds are those of docs/errors.md.", "kind"),
		partitions: c.gauge("unavailable_partition", "1 for each partition that cannot be used; its users are deferred. It is absent otherwise.", "partition", "kind"),
	}
}

func (x *troubles) collect(ch chan<- prometheus.Metric) {
	backups := map[string]map[string]bool{} // by kind and path: a backup can be in the list twice
	parts := map[[2]string]bool{}
	for _, kind := range partitions.BackupTroubles() { // an alert needs the value 0 to end
		backups[kind] = map[string]bool{}
	}
	for _, t := range x.now() {
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
		x.backups.value(ch, float64(len(paths)), kind)
	}
	for p := range parts {
		x.partitions.value(ch, 1, p[0], p[1])
	}
}
