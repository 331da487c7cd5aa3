package restore

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
)

// logDaemon replaces /dev/log.
func logDaemon(t *testing.T) (socket string, next func() string) {
	socket = filepath.Join(t.TempDir(), "log")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return socket, func() string {
		buf := make([]byte, 4096)
		if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(buf)
		if err != nil {
			return err.Error()
		}
		return string(buf[:n])
	}
}

// A restore writes one line to syslog, also if it fails. A dry run writes none.
func TestAudit(t *testing.T) {
	config, _ := host(t)
	t.Setenv("SUDO_USER", "carl")
	socket, next := logDaemon(t)
	to := filepath.Join(t.TempDir(), "to")
	for _, c := range []struct {
		argv []string
		want []string
	}{
		{[]string{"--to", "eml:" + to, "anne", "-a"}, []string{" uid=", " sudo_user=carl", " backup=anne what=all as_of=2", " to=eml:" + to, " mailboxes=1 messages=100 ", " problems=0", " result=ok"}},
		{[]string{"--to", "eml:" + to, "anne", "user/anne", "user/none"}, []string{`what="user/anne user/none"`, " messages=0 ", " there=100 problems=1", " result=incomplete"}},
		{[]string{"127.0.0.1:1", "anne", "-a"}, []string{" to=127.0.0.1:1", " result=failed err="}},
	} {
		std := stdio{strings.NewReader(""), new(strings.Builder), new(strings.Builder), cli.Audit{Tool: "restore", Socket: socket}}
		if err := run(t.Context(), append([]string{"-n", "-C", config}, c.argv...), std); err == nil && c.want[len(c.want)-1] != " result=ok" {
			t.Error("the dry run finds nothing")
		}
		_ = run(t.Context(), append([]string{"-C", config}, c.argv...), std) // the line has the result
		line := next()
		for _, w := range c.want {
			if !strings.Contains(line, w) {
				t.Errorf("%v: %q lacks %q", c.argv, line, w)
			}
		}
	}
	if line := next(); !strings.Contains(line, "timeout") {
		t.Errorf("one line more: %q", line)
	}
}
