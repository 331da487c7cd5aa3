package programs

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
)

func TestMainChoosesTheProgram(t *testing.T) {
	const list = "backup_replay, backupd, ctl_backups, cyr_backup, restore"
	for _, c := range []struct {
		args        string
		status      int
		out, errors string
	}{
		{"/usr/local/sbin/backupd --version", cli.ExitOK, "backupd ", ""},
		{"ctl_backups --version", cli.ExitOK, "ctl_backups ", ""},
		{"cyr_backup --help", cli.ExitOK, "usage: cyr_backup", ""},
		{"./restore", cli.ExitUsage, "", "usage: restore"},
		{"/opt/backup-programs backup_replay --version", cli.ExitOK, "backup_replay ", ""},
		{"restore ctl_backups", cli.ExitUsage, "", "restore: "},
		{"backup-programs --list", cli.ExitOK, strings.ReplaceAll(list, ", ", "\n") + "\n", ""},
		{"backup-programs --help", cli.ExitOK, list, ""},
		{"backup-programs", cli.ExitUsage, "", list},
		{"backup-programs passwd", cli.ExitUsage, "", `"passwd" is not a program`},
		{"/sbin/old-restore", cli.ExitUsage, "", `"/sbin/old-restore", which is not a program`},
		{"", cli.ExitUsage, "", list},
	} {
		var stdout, stderr bytes.Buffer
		status := Main(strings.Fields(c.args), strings.NewReader(""), &stdout, &stderr)
		if status != c.status || !strings.Contains(stdout.String(), c.out) || !strings.Contains(stderr.String(), c.errors) {
			t.Errorf("%q: status %d, %q, %q", c.args, status, &stdout, &stderr)
		}
	}
}
