package repository

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// MovedOut returns an error if the backup was moved to a repository that is not
// configured, so that this copy is out of date. m is the state of this copy.
func (f *Found) MovedOut(ctx context.Context, m *history.Mem) error {
	seal, err := SealOf(m)
	if seal == nil || err != nil || seal.To == "" {
		return err
	}
	repo, err := ReadInfo(ctx, f.Partition.Store)
	if err != nil || repo.ID == seal.To {
		return err
	}
	return fmt.Errorf("the backup of %s was moved out of partition %s: newer changes are in repository %s, which is not a partition of this configuration",
		f.Name(), f.Partition.Name, seal.To)
}
