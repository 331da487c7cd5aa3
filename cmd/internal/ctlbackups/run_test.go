package ctlbackups

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
)

func TestExitStatus(t *testing.T) {
	noConfig := filepath.Join(t.TempDir(), "imapd.conf")
	for _, c := range []struct {
		status      int
		out, errors string
		args        []string
	}{
		{cli.ExitOK, "ctl_backups ", "", []string{"--version"}},
		{cli.ExitUsage, "", "usage: ctl_backups ", nil},
		{cli.ExitUsage, "", "--nonsense", []string{"--nonsense"}},
		{cli.ExitConfig, "", noConfig, []string{"-C", noConfig, "list"}},
	} {
		var stdout, stderr bytes.Buffer
		status := Main(append([]string{"ctl_backups"}, c.args...), strings.NewReader(""), &stdout, &stderr)
		if status != c.status || !strings.Contains(stdout.String(), c.out) || !strings.Contains(stderr.String(), c.errors) {
			t.Errorf("%q: status %d, %q, %q", c.args, status, &stdout, &stderr)
		}
	}
}
