package partitions

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Create creates an empty backup in the partition chosen by hashing. It returns
// objstore.ErrExist if the backup exists.
func (s *Set) Create(ctx context.Context, n repository.Name) (*repository.Found, error) {
	b := s.Use(n)
	defer s.Leave(b)
	if err := b.Begin(ctx); err != nil {
		return nil, err
	}
	defer b.End()
	if err := b.refresh(ctx); err != nil {
		return nil, b.Failed(err)
	}
	if b.entry != nil {
		return nil, b.Failed(fmt.Errorf("in partition %s: %w", b.part.name, objstore.ErrExist))
	}
	if err := b.create(ctx, nil); err != nil {
		return nil, b.Failed(err)
	}
	return repository.FindPath(ctx, b.part.Config(), b.path)
}
