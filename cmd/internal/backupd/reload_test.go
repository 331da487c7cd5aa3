package backupd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/internal/master"
	"github.com/cyrusbackup/backupd/replication"
)

func parseConf(t *testing.T, lines string) *imapconf.File {
	t.Helper()
	conf, err := imapconf.Parse("imapd.conf", "configdirectory: /var/lib/cyrus\n"+lines, "backupd")
	if err != nil {
		t.Fatal(err)
	}
	return conf
}

func realService(t *testing.T, conf *imapconf.File) *backups {
	t.Helper()
	s, err := newService(environment{name: "backupd", conf: conf, log: slog.New(slog.DiscardHandler), observe: func(connection) {}})
	if err != nil {
		t.Fatal(err)
	}
	return s.(*backups)
}

// A reload applies every change, in place or by a new process. It must not ignore one silently.
func TestReloadAppliesEverything(t *testing.T) {
	dir := t.TempDir()
	partition := "backuppartition-default: " + dir + "/store\n"
	b := realService(t, parseConf(t, partition))
	for lines, want := range map[string]error{
		partition:                                               nil,
		partition + "sync_timeout: 5m":                          nil,
		partition + "backup_max_connections: 5":                 nil,
		"backuppartition-default: " + dir + "/elsewhere":        master.ErrRecycle,
		partition + "backup_pack_size: 8M":                      master.ErrRecycle,
		partition + "backup_upload_concurrency: 5":              master.ErrRecycle,
		partition + "backup_metrics_listen: localhost:0":        master.ErrRecycle,
		partition + "backup_control_socket: " + dir + "/socket": master.ErrRecycle,
		partition + "backup_index_path: " + dir + "/index":      master.ErrRecycle,
		partition + "backup_index_reserve: 1G":                  master.ErrRecycle,
		partition + "debug: yes":                                master.ErrRecycle,
		partition + "syslog_facility: LOCAL3":                   master.ErrRecycle,
		partition + "syslog_prefix: cyrus":                      master.ErrRecycle,
		partition + "umask: 027":                                master.ErrRecycle,
		partition + "proc_path: " + dir + "/proc":               master.ErrRecycle,
	} {
		if err := b.Reload(t.Context(), parseConf(t, lines)); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%q: %v, want %v", lines, err, want)
		}
	}
}

// A reload tries new partitions before this process ends.
func TestReloadTriesNewPartitions(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	partition := "backuppartition-default: " + dir + "/store\n"
	b := realService(t, parseConf(t, partition))
	for lines, option := range map[string]string{
		partition + "backuppartition-new: " + dir + "/not/mounted":                                         "backuppartition-new",
		partition + "backuppartition-new: " + dir + "/store":                                               "backuppartition-new",
		partition + "backuppartition-new: minio://127.0.0.1:1/b?tls=no\nbackup_credentials_file: /no/keys": "backuppartition-new",
		partition + "backup_index_path: " + dir + "/file/index":                                            "backup_index_path",
		partition + "backup_control_socket: " + dir + "/file/socket":                                       "backup_control_socket",
		partition + "backup_metrics_listen: " + l.Addr().String():                                          "backup_metrics_listen",
	} {
		err := b.Reload(t.Context(), parseConf(t, lines))
		if err == nil || errors.Is(err, master.ErrRecycle) || !strings.Contains(err.Error(), option) {
			t.Errorf("%q: %v, want an error that names %s", lines, err, option)
		}
	}
}

// A process does not end if its successor could not start: master would close the socket after
// five failures.
func TestReloadRejectsInvalidSettings(t *testing.T) {
	const partition = "backuppartition-default: /srv/backup\n"
	b := realService(t, parseConf(t, partition))
	for lines, option := range map[string]string{
		"backuppartition-default: ftp://elsewhere": "backuppartition-default",
		"backup_max_connections: 5":                "backuppartition-NAME",
		partition + "syslog_facility: nowhere":     "syslog_facility",
		partition + "umask: 9":                     "umask",
		partition + "umask: 7777":                  "umask",
	} {
		err := b.Reload(t.Context(), parseConf(t, lines))
		if err == nil || errors.Is(err, master.ErrRecycle) || !strings.Contains(err.Error(), option) {
			t.Errorf("%q: %v, want an error that names %s", lines, err, option)
		}
	}
}

// An aborted session ends before the index is closed.
func TestCutOffSessionEndsInTime(t *testing.T) {
	b := realService(t, parseConf(t, "backuppartition-default: "+filepath.Join(t.TempDir(), "store")+"\n"))
	waiting := make(chan struct{})
	srv, err := b.server(origin{service: "backupd"}, func(ctx context.Context) error {
		close(waiting)
		<-ctx.Done()
		return ctx.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	defer near.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = srv.ServeConn(ctx, far, replication.ConnOptions{Unix: true}) // any error is fine
	}()
	go func() {
		buf := make([]byte, 1024)
		for {
			if _, err := near.Read(buf); err != nil {
				return
			}
		}
	}()
	if _, err := near.Write([]byte("GET USER anne\r\n")); err != nil {
		t.Fatal(err)
	}
	<-waiting
	cancel()
	select {
	case <-ended:
	case <-time.After(master.AbandonAfter):
		t.Error("still working when the index is closed")
	}
}
