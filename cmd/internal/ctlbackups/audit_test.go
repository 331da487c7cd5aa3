package ctlbackups

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
)

// Commands that move other people's mail, or set a password, write one line to syslog.
func TestAudit(t *testing.T) {
	w, _ := spread(t)
	socket := filepath.Join(t.TempDir(), "log")
	daemon, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.Close()
	to := filepath.Join(t.TempDir(), "export")
	other := "two"
	if at(t, w.Parts, "anne") == "two" {
		other = "one"
	}
	for _, c := range []struct {
		argv []string
		want []string
	}{
		{[]string{"export", "anne", "bob", to}, []string{"ctl_backups[", "export uid=", `what="anne bob" to=` + to + " backups=2 failed=0 objects=", "result=ok"}},
		{[]string{"move", "anne", other}, []string{"move uid=", "what=anne to=" + other + " backups=1 failed=0", "result=ok"}},
		{[]string{"import", to}, []string{"import uid=", "what=" + to + " backups=0 failed=2", "result=incomplete"}},
		{[]string{"lock", "-x", "true", "bob"}, []string{"lock uid=", "what=bob", "result=ok"}},
		{[]string{"verify", "--repair", "bob"}, []string{"repair uid=", "what=bob", "result=ok"}},
		{[]string{"set-aside", "bob"}, []string{"set-aside uid=", "what=bob", "result=ok"}},
	} {
		var out bytes.Buffer
		run := &command{ctx: t.Context(), now: w.Now, clock: func() time.Time { return w.Now }, in: strings.NewReader(""), out: &out, err: &out,
			open:  func(context.Context, string, string) (*cli.Bucket, error) { return w.Bucket(""), nil },
			audit: cli.Audit{Tool: "ctl_backups", Socket: socket}}
		_ = run.run(c.argv) // the line has the result
		buf := make([]byte, 4096)
		if err := daemon.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := daemon.Read(buf)
		if err != nil {
			t.Fatalf("%v: %v; it said %s", c.argv, err, out.String())
		}
		for _, want := range c.want {
			if line := string(buf[:n]); !strings.Contains(line, want) {
				t.Errorf("%v: %q lacks %q; it said %s", c.argv, line, want, out.String())
			}
		}
	}
}
