package partitions

import (
	"context"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Reindex makes the index of one backup anew from the bucket. ErrNoBackup when no
// partition holds it.
func (s *Set) Reindex(ctx context.Context, n repository.Name) error {
	b := s.backup(n)
	if err := b.begin(ctx); err != nil {
		return err
	}
	defer b.end()
	p, err := s.locate(ctx, n, b.part)
	if err != nil {
		return s.errf(b, err)
	}
	if p == nil {
		return s.errf(b, repository.ErrNoBackup)
	}
	b.part = p
	return s.errf(b, b.rebuild(ctx))
}

// ReindexPath is Reindex by the path of a backup, as user/anne.
func (s *Set) ReindexPath(ctx context.Context, path string) error {
	f, err := repository.FindAny(ctx, s.Configs(), path)
	if err != nil {
		return err
	}
	return s.Reindex(ctx, f.Name())
}
