package backupd

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/replication"
)

// Every option is read with its type: a mistake would end connections.
func TestEveryOptionIsReadByItsType(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "metrics")
	conf, err := imapconf.Parse("imapd.conf", "configdirectory: "+t.TempDir()+"\nbackup_metrics_listen: "+socket+"\nbackuppartition-default: "+t.TempDir()+"/store\n", "backupd")
	if err != nil {
		t.Fatal(err)
	}
	s, err := newService(environment{name: "backupd", conf: conf, log: slog.New(slog.DiscardHandler), observe: func(connection) {}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.(*backups).server(origin{service: "backupd"}, nil); err != nil {
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

// A connection from another process is served with the options of that process's service, also
// after a reload.
func TestEachServiceHasItsOptions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "imapd.conf")
	write := func(lines string) *imapconf.File {
		t.Helper()
		err := os.WriteFile(path, []byte("configdirectory: "+t.TempDir()+"\nbackuppartition-default: "+t.TempDir()+"/store\n"+
			"allowplaintext: yes\nsasl_mech_list: PLAIN LOGIN\n"+lines), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		conf, err := imapconf.Load(path, "backupd")
		if err != nil {
			t.Fatal(err)
		}
		return conf
	}
	s, err := newService(environment{name: "backupd", conf: write("other_sasl_mech_list: LOGIN\n"), log: slog.New(slog.DiscardHandler), observe: func(connection) {}})
	if err != nil {
		t.Fatal(err)
	}
	b := s.(*backups)
	wantMechanisms(t, b, origin{"", "backupd"}, "* SASL PLAIN LOGIN")
	wantMechanisms(t, b, origin{path, "backupd"}, "* SASL PLAIN LOGIN")
	wantMechanisms(t, b, origin{path, "other"}, "* SASL LOGIN")
	wantMechanisms(t, b, origin{path, "third"}, "* SASL PLAIN LOGIN")
	// A service with another file (-C) uses that file, regardless of its name.
	strict := filepath.Join(t.TempDir(), "strict.conf")
	if err := os.WriteFile(strict, []byte("@include: "+path+"\nbackupd_sasl_mech_list: PLAIN\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantMechanisms(t, b, origin{strict, "backupd"}, "* SASL PLAIN")

	p, err := b.newPolicy(write("other_sasl_mech_list: PLAIN\n"))
	if err != nil {
		t.Fatal(err)
	}
	b.policy.Store(p)
	wantMechanisms(t, b, origin{path, "other"}, "* SASL PLAIN")
	for _, bad := range []string{"other_allowplaintext: perhaps", "other_umask: 99"} {
		write(bad + "\n")
		b.policy.Store(mustPolicy(t, b, p.conf))
		option, _, _ := strings.Cut(bad, ":")
		if _, err := b.server(origin{path, "other"}, nil); err == nil || !strings.Contains(err.Error(), option) {
			t.Errorf("%s: %v, want an error that names the option", bad, err)
		}
	}
}

func mustPolicy(t *testing.T, b *backups, conf *imapconf.File) *policy {
	t.Helper()
	p, err := b.newPolicy(conf)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wantMechanisms(t *testing.T, b *backups, o origin, want string) {
	t.Helper()
	srv, err := b.server(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- srv.ServeConn(t.Context(), far, replication.ConnOptions{Service: o.service, Addr: "[127.0.0.1]", NoPassword: true})
	}()
	line, err := bufio.NewReader(near).ReadString('\n')
	if got := strings.TrimSpace(line); err != nil || got != want {
		t.Errorf("%+v: %q, %v; want %q", o, got, err, want)
	}
	near.Close()
	<-done
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
