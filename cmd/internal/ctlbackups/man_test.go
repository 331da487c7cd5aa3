package ctlbackups

import (
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/manpage"
)

func TestManPage(t *testing.T) {
	manpage.Program(t, "../../../docs/man/ctl_backups.8", new(command).commandLine())
}
