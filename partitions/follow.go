package partitions

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/repository"
)

// ended reports whether the log, as far as the index has it, does not continue in the
// backup's partition.
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

// follow finds a backup whose log has ended in this partition. If a lock in the old partition
// shows that a move is in progress, follow waits for the end of the lock.
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

// relocate searches all partitions for the backup.
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
		return b.errMoved()
	}
	return b.checkLock(ctx)
}

// errMoved returns the error for a backup that has left its partition. If the move is in
// progress or was interrupted, the client should retry.
func (b *Backup) errMoved() error {
	if b.entry.Sealed.To == "" {
		return repository.ErrSealed
	}
	return fmt.Errorf("the backup has left partition %s and %w", b.part.name, repository.ErrHalfMoved)
}
