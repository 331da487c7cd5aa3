package cyrbackup

import (
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/manpage"
)

func TestManPage(t *testing.T) {
	manpage.Program(t, "../../../docs/man/cyr_backup.8", commandLine(new(given), new(command)))
}
