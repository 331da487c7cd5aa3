package backupd

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/internal/control"
	"github.com/cyrusbackup/backupd/internal/imapconf"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/replication"
)

// A daemon answers with its connections, its index and what it knows about the mail servers, and leaves
// that in a file at its end.
func TestStatus(t *testing.T) {
	conf, err := imapconf.Parse("imapd.conf", "configdirectory: "+t.TempDir()+"\nservername: backup1\nbackuppartition-default: "+t.TempDir()+"/store\n", "backupd")
	if err != nil {
		t.Fatal(err)
	}
	s, err := newService(environment{name: "backupd", conf: conf, log: slog.New(slog.DiscardHandler), observe: func(connection) {}})
	if err != nil {
		t.Fatal(err)
	}
	b := s.(*backups)
	if err := b.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	srv, err := b.server(origin{service: "backupd"}, func(context.Context) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- srv.ServeConn(t.Context(), far, replication.ConnOptions{Service: "backupd", Addr: "[192.0.2.1]", Unix: true})
	}()
	in := bufio.NewReader(near)
	expect := func(want string) {
		t.Helper()
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatalf("%v before %q", err, want)
			}
			if strings.HasPrefix(line, want) {
				return
			}
		}
	}
	expect("* OK")
	fmt.Fprintf(near, "GET USER anne\r\n")
	expect("OK")

	var got control.Status
	reply, err := control.AskParts(t.Context(), conf.String("backup_control_socket"), control.Request{Op: "status"}, time.Minute, func(part json.RawMessage) error {
		return json.Unmarshal(part, &got)
	})
	if err != nil || reply.Error != "" {
		t.Fatal(err, reply.Error)
	}
	d := got.Daemon
	if len(d.Connections) != 1 || d.Connections[0].Host != "[192.0.2.1]" || d.Connections[0].User != "cyrus" || d.Connections[0].Since.Before(d.Since) {
		t.Errorf("connections %+v since %v", d.Connections, d.Since)
	}
	if d.Version == "" || d.PID == 0 || !d.Index.Open || d.Index.Bytes == 0 || d.Index.Reserve != 128<<20 {
		t.Errorf("daemon %+v", d)
	}
	fmt.Fprintf(near, "EXIT\r\n")
	expect("OK")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if c := b.clients.list(); len(c) != 0 {
		t.Errorf("connections after their end: %+v", c)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	left, err := control.ReadStatus(control.StatusPath(b.Index()))
	if err != nil {
		t.Fatal(err)
	}
	var set partitions.Status
	if err := json.Unmarshal(left.Set, &set); err != nil {
		t.Fatal(err)
	}
	if left.Daemon.Ended.IsZero() || set.Host != "backup1" || len(set.Servers) != 1 || set.Servers[0].Client != "cyrus [192.0.2.1]" {
		t.Errorf("left: %+v, %+v", left.Daemon, set)
	}
}
