package partitions

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/pack"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Repository returns repository.json. It makes the repository where there is none.
func (p *Partition) Repository(ctx context.Context) (*repository.Info, error) {
	return p.repository(ctx, true)
}

// Packing is how packs are written, and their size in bytes.
func (p *Partition) Packing() (pack.Options, int64) { return p.set.opt.Pack, p.set.opt.PackSize }

// Partition is the one with this NAME.
func (s *Set) Partition(name string) (*Partition, error) {
	if p := s.partition(name); p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("no partition %s is configured (backuppartition-%s)", name, name)
}

// Choose is the partition for a new backup: objstore.ErrExist if there is one already.
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
