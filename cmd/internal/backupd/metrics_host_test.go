package backupd

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/cyrusbackup/backupd/cmd/internal/metrics"
	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/replication"
	syncclient "github.com/cyrusbackup/backupd/replication/client"
)

// metered is a daemon in this process whose metrics are read.
type metered struct {
	*backups
	t      *testing.T
	bucket string // of partition default
}

// newMetered starts a daemon with a directory as its partition default, and more lines of imapd.conf.
func newMetered(t *testing.T, lines ...string) *metered {
	t.Helper()
	m := &metered{t: t, bucket: filepath.Join(t.TempDir(), "bucket")}
	text := "configdirectory: " + t.TempDir() + "\nservername: backup1\nallowplaintext: yes\nadmins: repl\nsasl_mech_list: PLAIN LOGIN\n" +
		"backup_outage_wait: 1\nbackuppartition-default: " + m.bucket + "\n" + strings.Join(lines, "\n") + "\n"
	conf, err := imapconf.Parse("imapd.conf", text, "backupd")
	if err != nil {
		t.Fatal(err)
	}
	s, err := newService(environment{name: "backupd", conf: conf, log: slog.New(slog.DiscardHandler), observe: func(connection) {}})
	if err != nil {
		t.Fatal(err)
	}
	m.backups = s.(*backups)
	if err := m.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if m.backups != nil {
			m.end()
		}
	})
	return m
}

// end ends the daemon.
func (m *metered) end() {
	m.t.Helper()
	if err := m.Close(); err != nil {
		m.t.Error(err)
	}
	m.backups = nil
}

// connect begins a connection from a mail server.
func (m *metered) connect(o syncclient.Options, co replication.ConnOptions) (*syncclient.Client, error) {
	m.t.Helper()
	srv, err := m.server(origin{service: "backupd"}, func(context.Context) error { return nil })
	if err != nil {
		m.t.Fatal(err)
	}
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.ServeConn(m.t.Context(), far, co) // the client sees its errors
	}()
	m.t.Cleanup(func() { near.Close(); <-done })
	return syncclient.New(m.t.Context(), near, o)
}

// mailServer is a mail server that is logged in.
func (m *metered) mailServer() *syncclient.Client {
	m.t.Helper()
	c, err := m.connect(syncclient.Options{}, replication.ConnOptions{Service: "backupd", Addr: "[192.0.2.1]", Unix: true})
	if err != nil {
		m.t.Fatal(err)
	}
	return c
}

// sync synchronizes a user's mailbox, in a new connection.
func (m *metered) sync(user string, boxes ...*box) error {
	m.t.Helper()
	c := m.mailServer()
	defer c.Close()
	var all []*syncclient.Mailbox
	for _, b := range boxes {
		all = append(all, b.mailbox())
	}
	_, err := c.SyncUser(m.t.Context(), user, all, func(*cyrus.Mailbox, syncclient.Result) error { return nil })
	if rerr := c.Restart(m.t.Context()); err == nil {
		err = rerr
	}
	return err
}

func (m *metered) mustSync(user string, boxes ...*box) {
	m.t.Helper()
	if err := m.sync(user, boxes...); err != nil {
		m.t.Fatal(err)
	}
}

// values returns all metrics, as name{label="value"}. Histograms are their counts.
func (m *metered) values() map[string]float64 {
	m.t.Helper()
	if err := m.meter.Refresh(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	families, err := m.meter.Gatherer().Gather()
	if err != nil {
		m.t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, x := range f.Metric {
			v := x.GetGauge().GetValue() + x.GetCounter().GetValue() + float64(x.GetHistogram().GetSampleCount())
			out[strings.TrimPrefix(f.GetName(), metrics.Prefix)+labelsOf(x)] = v
		}
	}
	return out
}

func labelsOf(m *dto.Metric) string {
	var labels []string
	for _, l := range m.Label {
		labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
	}
	if len(labels) == 0 {
		return ""
	}
	slices.Sort(labels)
	return "{" + strings.Join(labels, ",") + "}"
}
