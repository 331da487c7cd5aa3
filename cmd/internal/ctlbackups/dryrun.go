package ctlbackups

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cyrusbackup/backupd/objstore/dirstore"
	"github.com/cyrusbackup/backupd/objstore/overlay"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// dryPartitions are the partitions with whatever is written to them in a directory that end
// removes: what a dry run says is then what the command itself would do.
func dryPartitions(parts []repository.Config) (dry []repository.Config, end func() error, err error) {
	dir, err := os.MkdirTemp("", "ctl_backups-dry-run-")
	if err != nil {
		return nil, nil, err
	}
	end = func() error { return os.RemoveAll(dir) }
	for _, p := range parts {
		above, err := dirstore.Open(filepath.Join(dir, p.Name))
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("dry run: %w", err), end())
		}
		p.Store = overlay.New(p.Store, above)
		dry = append(dry, p)
	}
	return dry, end, nil
}
