package partitions

import (
	"context"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Reindex rebuilds the index of one backup from the bucket. It returns ErrNoBackup if no
// partition holds the backup.
func (s *Set) Reindex(ctx context.Context, n repository.Name) error {
	b := s.Use(n)
	defer s.Leave(b)
	if err := b.Begin(ctx); err != nil {
		return err
	}
	defer b.End()
	p, err := s.locate(ctx, n, b.part)
	if err != nil {
		return b.Failed(err)
	}
	if p == nil {
		return b.Failed(repository.ErrNoBackup)
	}
	b.part = p
	return b.Failed(b.rebuild(ctx))
}

// ReindexPath is Reindex for the path of a backup, such as user/anne.
func (s *Set) ReindexPath(ctx context.Context, path string) error {
	f, err := repository.FindAny(ctx, s.Configs(), path)
	if err != nil {
		return err
	}
	return s.Reindex(ctx, f.Name())
}
