package partitions

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Repository returns repository.json. It creates the repository if there is none.
func (p *Partition) Repository(ctx context.Context) (*repository.Info, error) {
	return p.repository(ctx, true)
}

// Packing returns how packs are written, and their size in bytes.
func (p *Partition) Packing() (pack.Options, int64) { return p.set.opt.Pack, p.set.opt.PackSize }

// Partition returns the partition with this NAME.
func (s *Set) Partition(name string) (*Partition, error) {
	if p := s.partition(name); p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("no partition %s is configured (backuppartition-%s)", name, name)
}

// Choose returns the partition for a new backup, or objstore.ErrExist if the backup already
// exists.
func (s *Set) Choose(ctx context.Context, n repository.Name) (*Partition, error) {
	there, err := s.locate(ctx, n, nil)
	if err != nil {
		return nil, err
	}
	if there != nil {
		return nil, fmt.Errorf("the backup of %s in partition %s: %w", n, there.name, objstore.ErrExist)
	}
	return choose(s.parts, n.Path()), nil
}
