package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"backupd/internal/imapconf"
)

// Every option is asked for by a type that it has: a mistake would end connections.
func TestEveryOptionIsReadByItsType(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "metrics")
	conf, err := imapconf.Parse("imapd.conf", "configdirectory: "+t.TempDir()+"\nbackup_metrics_listen: "+socket+"\nbackuppartition-default: "+t.TempDir()+"/store\n", "backupd")
	if err != nil {
		t.Fatal(err)
	}
	s, err := newService(environment{name: "backupd", conf: conf, log: slog.New(slog.DiscardHandler), observe: func(session) {}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.(*backups).server("backupd", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if body := askMetrics(t, socket); !strings.Contains(body, "go_goroutines") {
		t.Errorf("metrics: %.200s", body)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func askMetrics(t *testing.T, socket string) string {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	r, err := c.Get("http://backupd/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
