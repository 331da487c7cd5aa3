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
	"github.com/cyrusbackup/backupd/cmd/internal/tooltest"
)

// Under master, nobody sees the output of compact and drill: syslog has the reason for each backup
// that failed.
func TestFailuresInSyslog(t *testing.T) {
	w := two(t)
	w.Damage("backups/user/bob/log/0000000000000001.tar.zst")
	w.Now = w.Now.AddDate(0, 0, 4)
	for _, test := range []struct {
		argv  []string
		lines [][]string // <19>: mail.err
	}{
		{[]string{"compact", "-A"}, [][]string{
			{"<19>", "a backup cannot be compacted", "backup=user/bob partition=default", "damaged"},
			{"compact uid=", "backups=1 skipped=0 held=0 locked=0 failed=1", "result=incomplete"},
		}},
		{[]string{"drill", "-A", "--scratch", t.TempDir()}, [][]string{
			{"<19>", "a drill could not restore everything", "backup=user/bob partition=default problems=1", "has lost"},
			{"drill uid=", "backups=2 failed=1 messages=9", "result=incomplete"},
		}},
	} {
		wantSyslog(t, w, test.argv, test.lines)
	}
}

// wantSyslog runs ctl_backups, and checks the lines in syslog.
func wantSyslog(t *testing.T, w *tooltest.World, argv []string, lines [][]string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "log")
	daemon, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.Close()
	var out bytes.Buffer
	c := &command{ctx: t.Context(), now: w.Now, clock: func() time.Time { return w.Now }, in: strings.NewReader(""), out: &out, err: &out,
		open:  func(context.Context, string, string) (*cli.Bucket, error) { return w.Bucket(""), nil },
		audit: cli.Audit{Tool: "ctl_backups", Socket: socket}}
	_ = c.run(argv) // the lines have the result
	for _, want := range lines {
		buf := make([]byte, 4096)
		if err := daemon.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := daemon.Read(buf)
		if err != nil {
			t.Fatalf("%v; it printed %s", err, out.String())
		}
		for _, part := range want {
			if line := string(buf[:n]); !strings.Contains(line, part) {
				t.Errorf("%q lacks %q", line, part)
			}
		}
	}
}
