package backupd

import (
	"testing"

	"github.com/cyrusbackup/backupd/cmd/internal/manpage"
)

func TestManPage(t *testing.T) {
	manpage.Program(t, "../../../docs/man/backupd.8", new(options).commandLine(new(int)))
}
