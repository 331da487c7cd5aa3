package replay

import (
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/manpage"
)

func TestManPage(t *testing.T) {
	manpage.Program(t, "../../../docs/man/backup_replay.1", new(settings).commandLine())
}
