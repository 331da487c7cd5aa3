package repository

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/history"
)

// Elsewhere is an error about a backup that goes on in a repository of which no
// configured partition is known: what is read here is old. m is the state that was read.
func (f *Found) Elsewhere(ctx context.Context, m *history.Mem) error {
	seal, err := SealOf(m)
	if seal == nil || err != nil || seal.To == "" {
		return err
	}
	repo, err := ReadInfo(ctx, f.Partition.Store)
	if err != nil || repo.ID == seal.To {
		return err
	}
	return fmt.Errorf("the backup of %s was moved out of partition %s: what came since is in repository %s, and no partition here is that one",
		f.Name(), f.Partition.Name, seal.To)
}
