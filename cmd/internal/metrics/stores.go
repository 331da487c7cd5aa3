// Package metrics has the Prometheus metrics of the daemon. No other package but the daemon links
// Prometheus.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyrusbackup/backupd/objstore/observe"
)

// Stores are the Prometheus collectors of the stores of a process.
type Stores struct {
	requests *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inflight *prometheus.GaugeVec
}

// NewStores makes the collectors; the caller registers them.
func NewStores(namespace string) *Stores {
	by := func(more ...string) []string { return append([]string{"partition", "op"}, more...) }
	return &Stores{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: "store", Name: "requests_total",
			Help: "Requests to the store by their outcome."}, by("outcome")),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: "store", Name: "bytes_total",
			Help: "Bytes of objects put (tried ones too) and read."}, by()),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Subsystem: "store", Name: "request_seconds",
			Help:    "Time until the store's answer, without the body of a get.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120}}, by()),
		inflight: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Subsystem: "store", Name: "requests_in_flight",
			Help: "Operations begun and not ended; a get ends when its body is closed."}, by()),
	}
}

// Hooks update the collectors for one partition.
func (m *Stores) Hooks(partition string) observe.Hooks {
	return observe.Hooks{
		Start: func(op, _ string) { m.inflight.WithLabelValues(partition, op).Inc() },
		End: func(e observe.Event) {
			m.inflight.WithLabelValues(partition, e.Op).Dec()
			m.requests.WithLabelValues(partition, e.Op, e.Outcome).Add(float64(e.Requests()))
			m.bytes.WithLabelValues(partition, e.Op).Add(float64(e.Bytes))
			m.seconds.WithLabelValues(partition, e.Op).Observe(e.Answer.Seconds())
		},
	}
}

// Describe implements prometheus.Collector.
func (m *Stores) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Stores) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(ch)
	}
}

func (m *Stores) all() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.bytes, m.seconds, m.inflight}
}
