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

// dryPartitions returns the partitions with a layer that keeps all writes in a directory; end
// removes the directory. So a dry run does the same work as the real command.
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
