package ctlbackups

import (
	"errors"
	"os"

	"github.com/cyrusbackup/backupd/index"
	"github.com/cyrusbackup/backupd/internal/version"
	"github.com/cyrusbackup/backupd/partitions"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// scratchReserve makes the command fail if the disk is full.
const scratchReserve = 4 << 20

// scratchSet opens the partitions with a temporary index. Commands that write to the bucket
// next to a running backupd use it, like a second backup host.
func (c *command) scratchSet() (*partitions.Set, func() error, error) {
	return c.scratchSetOf(c.bucket.Partitions)
}

func (c *command) scratchSetOf(parts []repository.Config) (*partitions.Set, func() error, error) {
	dir, err := os.MkdirTemp("", "ctl_backups")
	if err != nil {
		return nil, nil, err
	}
	x, err := index.Open(dir, index.Options{Reserve: scratchReserve})
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	o := c.setOptions
	o.Partitions, o.Index, o.NoCheckpoints, o.Host = parts, x, true, c.host
	o.Software, o.Exclusive = version.Software(), c.bucket.Conf.Switch("backup_exclusive")
	o.DedupPerBackup = c.bucket.Conf.Word("backup_dedup") == "backup"
	set, err := partitions.Open(o)
	if err != nil {
		return nil, nil, errors.Join(err, x.Close(), os.RemoveAll(dir))
	}
	return set, func() error { return errors.Join(set.Close(), x.Close(), os.RemoveAll(dir)) }, nil
}
