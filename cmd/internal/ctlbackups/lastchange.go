package ctlbackups

import (
	"time"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// lastChange is Found.LastChange, and reports a time that is ignored: doubt.
func (c *command) lastChange(f *repository.Found, newest uint64) (at time.Time, doubt bool, err error) {
	at, why, err := f.LastChange(c.ctx, newest, c.now)
	c.doubt(f, why)
	return at, why != "", err
}

func (c *command) doubt(f *repository.Found, doubt string) {
	if doubt != "" {
		cli.Fprintf(c.err, "ctl_backups: warning: %s: %s\n", label(f), doubt)
	}
}
