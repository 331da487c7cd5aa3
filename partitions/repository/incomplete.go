package repository

import (
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// Incomplete returns an error that names the commits whose changes are missing from m,
// and nil if m is complete. The error is history.ErrUnfinished if a copy has not put all of the log.
func (f *Found) Incomplete(m *history.Mem) error {
	if err := m.Unfinished(); err != nil {
		return err
	}
	missing := m.MissingCommits()
	if missing == "" {
		return nil
	}
	return fmt.Errorf("the log of %s has lost %s, and their changes are missing here: run ctl_backups verify --repair %s; the next sync_client -u then sends what the mail server still has",
		f.Path, missing, f.Name().Full)
}
