package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sys/unix"

	"github.com/cyrusbackup/backupd/internal/unixsocket"
)

const (
	// listenAgain is the pause between attempts to listen: another process may have the address.
	listenAgain = 10 * time.Second
	// mostReaders limits the requests for metrics at the same time, and readTime each of them.
	mostReaders, readTime = 4, 20 * time.Second
)

// output is where the metrics go.
type output struct {
	life   context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
	server *http.Server // nil: nothing is served
	last   func()       // writes the file a last time
}

func newOutput() *output {
	o := &output{last: func() {}}
	o.life, o.cancel = context.WithCancel(context.Background())
	return o
}

// Serve serves the metrics at host:port, or at the absolute path of a socket, until Close. If the address
// is in use, or cannot be used, it logs that once and tries again: backups are more important than
// metrics.
func (m *Metrics) Serve(at string) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(prometheus.Gatherers{m.own, m.runtime}, promhttp.HandlerOpts{
		Registry: m.runtime, MaxRequestsInFlight: mostReaders, Timeout: readTime,
		ErrorLog: errorLog{m.opt.Logger}, ErrorHandling: promhttp.ContinueOnError,
	}))
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	m.output.server = s
	l, err := listen(at)
	m.output.work.Go(func() { m.serve(m.output.life, s, at, l, err) })
}

// serve serves at l, or at what it can listen to later if there was an error.
func (m *Metrics) serve(ctx context.Context, s *http.Server, at string, l net.Listener, err error) {
	failed := false
	for ; ; l, err = listen(at) {
		if err == nil {
			if failed {
				m.opt.Logger.Warn("metrics are served again", "address", at)
			}
			failed = false
			if err = s.Serve(l); errors.Is(err, http.ErrServerClosed) {
				return
			}
		}
		if !failed {
			m.opt.Logger.Error("metrics are not served; backups go on", "address", at, "err", err, "action", advice(err))
		}
		failed = true
		select {
		case <-ctx.Done():
			return
		case <-time.After(listenAgain):
		}
	}
}

// errInUse means that another process serves at the path.
var errInUse = fmt.Errorf("another process listens there: %w", unix.EADDRINUSE)

// advice returns what an administrator can do about an address.
func advice(err error) string {
	if errors.Is(err, unix.EADDRINUSE) {
		return "give each backupd of this host its own backup_metrics_listen; two services of cyrus.conf with the same index share one process and one address"
	}
	return "check backup_metrics_listen in imapd.conf; backupd tries again every ten seconds"
}

func listen(at string) (net.Listener, error) {
	if !filepath.IsAbs(at) {
		return net.Listen("tcp", at)
	}
	if c, err := net.DialTimeout("unix", at, time.Second); err == nil {
		return nil, errors.Join(errInUse, c.Close())
	}
	return unixsocket.Listen(at)
}

// errorLog logs what promhttp cannot answer.
type errorLog struct{ log *slog.Logger }

// Println implements promhttp.Logger.
func (l errorLog) Println(v ...any) { l.log.Warn("metrics are incomplete", "err", fmt.Sprint(v...)) }

func (o *output) close() error {
	var err error
	o.cancel()
	if o.server != nil {
		err = o.server.Close()
	}
	o.work.Wait()
	o.last()
	return err
}
