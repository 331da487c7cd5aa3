package partitions

import (
	"context"
	"fmt"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Create makes an empty backup, in the partition that hashing chooses. One that is
// there already is objstore.ErrExist.
func (s *Set) Create(ctx context.Context, n repository.Name) (*repository.Found, error) {
	b := s.backup(n)
	if err := b.begin(ctx); err != nil {
		return nil, err
	}
	defer b.end()
	if err := b.refresh(ctx); err != nil {
		return nil, s.errf(b, err)
	}
	if b.entry != nil {
		return nil, s.errf(b, fmt.Errorf("in partition %s: %w", b.part.name, objstore.ErrExist))
	}
	if err := b.create(ctx, nil); err != nil {
		return nil, s.errf(b, err)
	}
	return repository.FindPath(ctx, b.part.Config(), b.path)
}
