package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyrusbackup/backupd/index"
)

// localIndex are the metrics of the index and its disk.
type localIndex struct {
	status  func() index.Status
	reserve int64

	open, bytes, free, reserved, aside *family
}

func newLocalIndex(c *catalogue, status func() index.Status, reserve int64) *localIndex {
	c.begin("Index")
	return &localIndex{
		status: status, reserve: reserve,
		open:     c.gauge("index_open", "1 while the index is open; 0 while clients are deferred, see the log."),
		bytes:    c.gauge("index_size_bytes", "Bytes of the files of the index."),
		free:     c.gauge("index_free_bytes", "Free space of the file system of the index; -1 if unknown."),
		reserved: c.gauge("index_reserve_bytes", "The option backup_index_reserve: with less free space the index is closed."),
		aside:    c.gauge("index_set_aside", "Damaged indexes that are stored beside the index."),
	}
}

func (x *localIndex) collect(ch chan<- prometheus.Metric) {
	s := x.status()
	x.open.value(ch, number(s.Open))
	x.bytes.value(ch, float64(s.Bytes))
	x.free.value(ch, float64(s.Free))
	x.reserved.value(ch, float64(x.reserve))
	x.aside.value(ch, float64(s.SetAside))
}
