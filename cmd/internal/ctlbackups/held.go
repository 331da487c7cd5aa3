package ctlbackups

import (
	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// held returns the active holds of a backup. there is false if the backup has no holds.json,
// so most backups cost no request.
func (c *command) held(f *repository.Found, there bool) ([]repository.Hold, error) {
	if !there {
		return nil, nil
	}
	holds, doubt, err := cli.Holds(c.ctx, f, c.now)
	if doubt != nil {
		cli.Fprintf(c.err, "ctl_backups: warning: %s: %v: it counts as a hold\n", label(f), doubt)
	}
	return holds, err
}

// row prints a line about a backup. The holds are its last column, which other lines lack.
func (c *command) row(holds []repository.Hold, format string, args ...any) error {
	if len(holds) > 0 {
		format += "\ton hold: %s"
		args = append(args, repository.HoldsText(holds))
	}
	_, err := cli.Fprintf(c.out, format+"\n", args...)
	return err
}
