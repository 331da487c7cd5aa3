package backupd

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	daemonmetrics "github.com/cyrusbackup/backupd/cmd/internal/metrics"
	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/unixsocket"
)

// metrics are served to Prometheus at backup_metrics_listen.
type metrics struct {
	registry *prometheus.Registry
	stores   *daemonmetrics.Stores
	server   *http.Server // nil: metrics are not served
}

// newMetrics registers the metrics and serves them at host:port, or at the absolute path of a
// socket; "" means not at all.
func newMetrics(at string, log *slog.Logger) (*metrics, error) {
	m := &metrics{registry: prometheus.NewRegistry(), stores: daemonmetrics.NewStores("cyrus_backupd")}
	err := errors.Join(
		m.registry.Register(m.stores),
		m.registry.Register(collectors.NewGoCollector()),
		m.registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
	)
	if err != nil || at == "" {
		return m, err
	}
	l, err := listenMetrics(at)
	if err != nil {
		return nil, fmt.Errorf("backup_metrics_listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry}))
	m.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := m.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are no longer served", "err", err)
		}
	}()
	return m, nil
}

// watchIndex adds metrics of the index.
func (m *metrics) watchIndex(status func() index.Status) error {
	gauge := func(name, help string, value func(index.Status) float64) error {
		return m.registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "cyrus_backupd", Subsystem: "index", Name: name, Help: help},
			func() float64 { return value(status()) }))
	}
	return errors.Join(
		gauge("open", "1 while the index is open; 0 while clients are deferred, see the log.", func(s index.Status) float64 {
			if s.Open {
				return 1
			}
			return 0
		}),
		gauge("free_bytes", "Free space of the file system of the index; -1 if unknown.", func(s index.Status) float64 { return float64(s.Free) }),
		gauge("set_aside", "Damaged indexes that are stored beside the index.", func(s index.Status) float64 { return float64(s.SetAside) }),
	)
}

func listenMetrics(at string) (net.Listener, error) {
	if !strings.HasPrefix(at, "/") {
		return net.Listen("tcp", at)
	}
	return unixsocket.Listen(at) // this process owns the index, so no other process serves there
}

func (m *metrics) close() error {
	if m.server == nil {
		return nil
	}
	return m.server.Close()
}
