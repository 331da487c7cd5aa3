// Package metrics has the Prometheus metrics of the daemon (docs/metrics.md), and serves them or writes
// them to a file. No other package but the daemon links Prometheus.
//
// What happens often is counted as it happens. Everything else is read when somebody asks for the
// metrics. Expensive values are read in the background, and not often. No label is made
// from a user's name, and no value takes memory for each user.
package metrics

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Options describe the daemon.
type Options struct {
	Logger      *slog.Logger
	Now         func() time.Time
	MemoryLimit int64      // backup_memory_limit
	Reserve     int64      // backup_index_reserve
	Connections func() int // that are open now
}

// Engine is what the daemon has opened.
type Engine struct {
	Index      func() index.Status
	Set        *partitions.Set
	Partitions []repository.Config // without conclusions from the errors of their stores
}

// Metrics are all metrics of a daemon.
type Metrics struct {
	opt       Options
	catalogue catalogue
	own       *prometheus.Registry // the metrics with Prefix
	runtime   *prometheus.Registry // of Go, of the process and of the HTTP server

	process *process
	clients *clients
	Stores  *Stores
	output  *output

	// Set by Watch.
	work    *background
	sources []source
}

// source sends metrics that are computed when they are read.
type source interface {
	collect(ch chan<- prometheus.Metric)
}

// New makes the metrics. Until Watch they have nothing of the index and the partitions.
func New(opt Options) (*Metrics, error) {
	m := &Metrics{opt: opt, output: newOutput(), own: prometheus.NewRegistry(), runtime: prometheus.NewRegistry()}
	m.process = newProcess(&m.catalogue, opt)
	m.clients = newClients(&m.catalogue, opt)
	m.Stores = newStores(&m.catalogue)
	err := errors.Join(
		m.runtime.Register(collectors.NewGoCollector()),
		m.runtime.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
	)
	for _, c := range append(m.clients.vectors(), m.Stores.vectors()...) {
		err = errors.Join(err, m.own.Register(c))
	}
	return m, err
}

// Watch adds the metrics of what the daemon has opened. The caller ends that with Close before it closes
// the Engine.
func (m *Metrics) Watch(e Engine) error {
	m.work = newBackground(m.opt.Logger, m.opt.Now)
	c := &m.catalogue
	m.sources = []source{
		m.process, m.clients,
		newEngine(c, e.Set),
		newUsers(c, m.work, e.Set),
		newTroubles(c, e.Set.Troubles),
		newReach(c, m.work, e.Partitions),
		newRecords(c, m.work, e.Partitions),
		newLocalIndex(c, e.Index, m.opt.Reserve),
	}
	return m.own.Register(collector{m})
}

// collector is Metrics as a prometheus.Collector.
type collector struct{ m *Metrics }

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.m.catalogue.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c.m.sources {
		s.collect(ch)
	}
}

// Gatherer returns the metrics with Prefix.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.own }

// Refresh reads all values now. It is for tests.
func (m *Metrics) Refresh(ctx context.Context) error { return m.work.refresh(ctx) }

// Definitions returns what all metrics mean, in the order of docs/metrics.md.
func Definitions() ([]Definition, error) {
	m, err := New(Options{})
	if err == nil {
		err = m.Watch(Engine{})
	}
	return m.catalogue.all, err
}

// Close ends what Watch, Serve and WriteTo have begun.
func (m *Metrics) Close() error {
	err := m.output.close()
	if m.work != nil {
		m.work.end()
	}
	return err
}
