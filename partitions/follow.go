package partitions

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// ended reports that the log, as far as the index has it, does not go on in the backup's partition.
func (b *Backup) ended(ctx context.Context) (bool, error) {
	seal := b.entry.Sealed
	if seal == nil || seal.To == "" {
		return seal != nil, nil
	}
	repo, err := b.part.repository(ctx, false)
	if err != nil || repo == nil {
		return false, err
	}
	return seal.To != repo.ID, nil
}

// follow goes after a backup whose log has ended here. While somebody is at work on a
// move, as the lock that it holds in the old partition says, follow waits for its end.
func (b *Backup) follow(ctx context.Context) error {
	old := b.part
	err := b.relocate(ctx)
	if !errors.Is(err, repository.ErrHalfMoved) {
		return err
	}
	waited, lockErr := old.outwaitLock(ctx, b.path)
	if lockErr != nil || !waited {
		return errors.Join(err, lockErr)
	}
	return b.relocate(ctx)
}

// relocate looks for the backup in all partitions.
func (b *Backup) relocate(ctx context.Context) error {
	b.set.log.Info("the backup has left its partition: it is looked for in the others", "backup", b.path)
	if err := b.drop(); err != nil {
		return err
	}
	if err := b.advance(ctx); err != nil || b.entry == nil {
		return err
	}
	ended, err := b.ended(ctx)
	switch {
	case err != nil:
		return err
	case ended:
		return b.goneFromHere()
	}
	return b.checkLock(ctx)
}

// goneFromHere is what a client hears: of a move that is under way, or was cut off, it
// is told to come again.
func (b *Backup) goneFromHere() error {
	if b.entry.Sealed.To == "" {
		return repository.ErrSealed
	}
	return fmt.Errorf("it has left partition %s and %w", b.part.name, repository.ErrHalfMoved)
}
