package repository

import (
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// Incomplete is an error if m lacks commits that cannot be read; it names them and says
// what to do. nil if the state is whole.
func (f *Found) Incomplete(m *history.Mem) error {
	missing := m.MissingCommits()
	if missing == "" {
		return nil
	}
	return fmt.Errorf("the log of %s has lost %s: their changes are not in what follows; ctl_backups verify --repair %s lets the log go on, and the next sync_client -u brings back what the mail server still has",
		f.Path, missing, f.Name().Full)
}
