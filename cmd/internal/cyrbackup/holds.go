package cyrbackup

import (
	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// noteHolds prints a line on standard error if the backup is on hold. Standard output has the same
// form as that of Cyrus's cyr_backup.
func (c *command) noteHolds() error {
	holds, doubt, err := cli.Holds(c.ctx, c.found, c.now)
	if err != nil {
		return err
	}
	if doubt != nil {
		cli.Fprintf(c.err, "cyr_backup: warning: %v\n", doubt)
	}
	if len(holds) > 0 {
		cli.Fprintf(c.err, "cyr_backup: %s is on hold, nothing is removed from it: %s\n", c.found.Info.Name, repository.HoldsText(holds))
	}
	return nil
}
