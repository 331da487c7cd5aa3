package metrics

import (
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/observe"
)

// Stores are the metrics of the requests to stores.
type Stores struct {
	requests *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inflight *prometheus.GaugeVec
	retries  *prometheus.CounterVec

	mu      sync.Mutex
	charged map[string]*charged // by partition
}

// charged are requests as stores charge them.
type charged struct{ put, get, remove atomic.Int64 }

// note counts requests of an operation.
func (c *charged) note(op string, n int64) {
	switch op {
	case "put", "list", "noncurrent":
		c.put.Add(n)
	case "delete":
		c.remove.Add(n)
	case "delete-version": // a list, and the removal
		c.put.Add(n - n/2)
		c.remove.Add(n / 2)
	default: // get, stat
		c.get.Add(n)
	}
}

// Charged returns the requests to each partition so far.
func (s *Stores) Charged() map[string]control.Requests {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]control.Requests{}
	for name, c := range s.charged {
		out[name] = control.Requests{Put: c.put.Load(), Get: c.get.Load(), Delete: c.remove.Load()}
	}
	return out
}

// of returns the counts of a partition.
func (s *Stores) of(partition string) *charged {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.charged[partition]
	if c == nil {
		c = new(charged)
		s.charged[partition] = c
	}
	return c
}

func newStores(c *catalogue) *Stores {
	c.begin("Stores")
	return &Stores{
		requests: c.counterVec("store_requests_total",
			"Requests to the store by operation and outcome. code is the HTTP status of an answer that was an error, ok, or none without an HTTP answer.",
			"partition", "op", "outcome", "code"),
		bytes: c.counterVec("store_bytes_total", "Bytes of objects put (tried ones too) and read.", "partition", "op"),
		seconds: c.histogramVec("store_request_duration_seconds", "Time until the store's answer, without the body of a get.",
			[]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120}, "partition", "op"),
		inflight: c.gaugeVec("store_requests_in_flight", "Operations begun and not ended; a get ends when its body is closed.", "partition", "op"),
		retries:  c.counterVec("store_retries_total", "Requests that were repeated after a temporary failure.", "partition"),
		charged:  map[string]*charged{},
	}
}

// Hooks update the metrics for one partition.
func (s *Stores) Hooks(partition string) observe.Hooks {
	s.retries.WithLabelValues(partition)
	sum := s.of(partition)
	return observe.Hooks{
		Start: func(op, _ string) { s.inflight.WithLabelValues(partition, op).Inc() },
		End: func(e observe.Event) {
			s.inflight.WithLabelValues(partition, e.Op).Dec()
			s.requests.WithLabelValues(partition, e.Op, e.Outcome, code(e.Err)).Add(float64(e.Requests()))
			sum.note(e.Op, int64(e.Requests()))
			s.bytes.WithLabelValues(partition, e.Op).Add(float64(e.Bytes))
			s.seconds.WithLabelValues(partition, e.Op).Observe(e.Answer.Seconds())
		},
	}
}

// Retried counts a request that is repeated.
func (s *Stores) Retried(partition string) { s.retries.WithLabelValues(partition).Inc() }

// code returns the label of the HTTP status.
func code(err error) string {
	if err == nil {
		return "ok"
	}
	if n := objstore.StatusOf(err); n != 0 {
		return strconv.Itoa(n)
	}
	return "none"
}

func (s *Stores) vectors() []prometheus.Collector {
	return []prometheus.Collector{s.requests, s.bytes, s.seconds, s.inflight, s.retries}
}
