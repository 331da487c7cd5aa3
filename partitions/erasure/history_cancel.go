package erasure

import (
	"context"
	"errors"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// refused ends the record of an erasure that was refused before it removed anything. Else it would keep the backup from
// being moved, and its packs from being collected, for ever. After a failure of the store, the next run continues, or
// SweepHistory ends the record.
func (j *historyJob) refused(ctx context.Context, err error) error {
	if j.r.State != repository.ErasureBegun || repository.IsStoreError(err) || ctx.Err() != nil {
		return nil
	}
	j.done = nil
	return cancelErasure(ctx, j.f.Partition, j.r.ID, j.check)
}

// cancelErasure removes the record of an erasure that has removed nothing, and its list before it.
func cancelErasure(ctx context.Context, p repository.Config, id string, check func() error) error {
	m := &remover{store: p.Store, check: check}
	if err := m.erase(ctx, repository.ErasurePacksKey(id)); err != nil {
		return err
	}
	if err := check(); err != nil {
		return err
	}
	return p.Store.Delete(ctx, repository.ErasureKey(id))
}

// cancelBegun ends an erasure that was interrupted before it removed anything. The error is about that. out is about one
// that another run has continued or ended meanwhile.
func cancelBegun(ctx context.Context, p repository.Config, e *repository.Erasure, o repository.LockOptions) (out maintenance.Swept, err error) {
	u, err := repository.BeginCollection(ctx, p, o) // EraseHistory holds it while it changes the record
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, u.End(context.WithoutCancel(ctx))) }()
	now, _, err := repository.ReadErasure(ctx, p.Store, e.ID)
	if errors.Is(err, objstore.ErrNotExist) || err == nil && now.State != repository.ErasureBegun {
		return changedMeanwhile(), nil
	}
	if err == nil {
		err = cancelErasure(ctx, p, e.ID, u.Check)
	}
	if err != nil {
		return out, err
	}
	return out, errors.New("it was interrupted before it removed anything, and has ended: to erase this history, run erase again")
}

// changedMeanwhile is the result of a sweep that has found a record in another state.
func changedMeanwhile() maintenance.Swept {
	return maintenance.Swept{Waiting: "another run has changed its record"}
}
