package ctlbackups

import (
	"errors"

	"github.com/cyrusbackup/backupd/cmd/internal/cli"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// setAside moves backups out of the way, so that the next sync starts new ones. It also moves
// what a move has left in other partitions. Otherwise backupd would look for the user's backup
// there.
func setAside(c *command) error {
	return c.eachOf(c.remains(), func(f *repository.Found) error {
		where, done, err := f.SetAside(c.ctx, "ctl_backups set-aside", c.lockOptions("set-aside"), c.progress("set-aside", f))
		if perr := c.status("set-aside", f, err); perr != nil {
			return perr
		}
		if err != nil {
			return errors.Join(cli.ErrReported, c.ctx.Err())
		}
		if c.structured() {
			return nil
		}
		_, err = cli.Fprintf(c.out, "  stored in %s:%s (%s, %s); the next sync starts a new backup\n",
			f.Partition.Name, where, objects(int64(done.Objects), "object"), binary(done.Bytes))
		return err
	})
}

// remains returns what exists of each named backup, even if it is damaged.
func (c *command) remains() func(func(*repository.Found, error) bool) {
	return func(yield func(*repository.Found, error) bool) {
		for _, name := range c.args {
			list, err := c.bucket.Remains(c.ctx, c.single(), name)
			if err != nil && !yield(nil, err) {
				return
			}
			for _, f := range list {
				if !yield(f, nil) {
					return
				}
			}
		}
	}
}
