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
	h, err := f.ReadHolds(c.ctx)
	if err == nil {
		return h.Active(c.now), nil
	}
	if repository.IsStoreError(err) {
		return nil, err
	}
	cli.Fprintf(c.err, "ctl_backups: warning: %s: %v: it counts as a hold\n", label(f), err)
	return []repository.Hold{{Kind: repository.HoldPlaced, By: "nobody", Reason: "holds.json is unreadable"}}, nil
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
