package restore

import (
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/manpage"
)

func TestManPage(t *testing.T) {
	manpage.Program(t, "../../../docs/man/restore.8", (&given{options: &options{}}).commandLine())
}
