package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// fileAge is the time between two writes of the file.
const fileAge = 30 * time.Second

// WriteTo writes the metrics to a file for the textfile collector of node_exporter, twice a minute until
// Close, and once more at its end. The file is replaced as a whole. It has no metrics of Go and of the
// process, because node_exporter has its own with the same names.
func (m *Metrics) WriteTo(path string) {
	failed := false
	write := func() {
		err := prometheus.WriteToTextfile(path, m.own)
		switch {
		case err != nil && !failed:
			m.opt.Logger.Error("metrics are not written; backups go on", "file", path, "err", err, "action", "check backup_metrics_file in imapd.conf, and the owner of its directory")
		case err == nil && failed:
			m.opt.Logger.Warn("metrics are written again", "file", path)
		}
		failed = err != nil
	}
	ctx := m.output.life
	m.output.work.Go(func() {
		tick := time.NewTicker(fileAge)
		defer tick.Stop()
		for {
			write()
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	m.output.last = func() {
		m.process.ended.Store(true)
		write()
	}
}
