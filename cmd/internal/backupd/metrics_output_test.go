package backupd

import (
	"bytes"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/imapconf"
)

// A file for node_exporter exists while the daemon runs, and has its last values after that.
func TestMetricsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backupd.prom")
	m := newMetered(t, "backup_metrics_file: "+path)
	if m.Stays() {
		t.Error("a daemon with a file stays while it is idle")
	}
	for len(readFile(t, path)) == 0 {
		time.Sleep(time.Millisecond)
	}
	if text := readFile(t, path); !strings.Contains(text, "\ncyrus_backupd_running 1\n") || strings.Contains(text, "go_") || strings.Contains(text, "process_") {
		t.Errorf("while the daemon runs: %.400s", text)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o444 != 0o444 {
		t.Errorf("node_exporter cannot read it: %v, %v", info.Mode(), err)
	}
	inbox := newBox("user.anne")
	inbox.deliver(1, 100)
	m.mustSync("anne", inbox)
	m.end()
	text := readFile(t, path)
	for _, want := range []string{"\ncyrus_backupd_running 0\n", `cyrus_backupd_committed_messages_total{body="stored",partition="default"} 1`, "cyrus_backupd_index_open 1"} {
		if !strings.Contains(text, want) {
			t.Errorf("after the end: no %q", want)
		}
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); err != nil || len(left) != 1 {
		t.Errorf("files %v, %v", left, err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

// safeBuffer is a log that goroutines write.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// If the address of the metrics is in use, the daemon serves clients, and reports the action once.
func TestMetricsAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	socket := filepath.Join(t.TempDir(), "metrics")
	takenSocket, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer takenSocket.Close()
	for name, at := range map[string]string{"port": taken.Addr().String(), "socket": socket} {
		t.Run(name, func(t *testing.T) {
			var log safeBuffer
			conf, err := imapconf.Parse("imapd.conf", "configdirectory: "+t.TempDir()+"\nbackup_metrics_listen: "+at+"\nbackuppartition-default: "+t.TempDir()+"/store\n", "backupd")
			if err != nil {
				t.Fatal(err)
			}
			s, err := newService(environment{name: "backupd", conf: conf, log: slog.New(slog.NewTextHandler(&log, nil)), observe: func(connection) {}})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Open(t.Context()); err != nil {
				t.Fatalf("the daemon does not start: %v", err)
			}
			if !s.Stays() {
				t.Error("the daemon ends when it is idle")
			}
			for !strings.Contains(log.String(), "metrics are not served") {
				time.Sleep(time.Millisecond)
			}
			if text := log.String(); !strings.Contains(text, "address already in use") || !strings.Contains(text, "its own backup_metrics_listen") {
				t.Errorf("log: %s", text)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
