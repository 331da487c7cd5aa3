package erasure

import (
	"context"
	"errors"
	"fmt"

	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// SweepHistory removes the rest of erased history from the backup, before its packs are collected. It
// reports whether they can be: nothing in the backup names the erased bodies any more. It is called
// before retention, which leaves blocks that readers may still need.
func SweepHistory(ctx context.Context, p repository.Config, e *repository.Erasure, o maintenance.ForgetOptions) (complete bool, err error) {
	o.Lock.SetDefaults()
	f, err := repository.FindPath(ctx, p, e.Backup)
	if errors.Is(err, repository.ErrNoBackup) || err == nil && !e.Concerns(f) {
		return true, gone(ctx, p, e, o.Lock)
	}
	if err != nil {
		return false, err
	}
	if e.State != repository.ErasurePending {
		return false, fmt.Errorf("the erasure of %s before %s was interrupted: run it again", e.Of(), e.Before)
	}
	u, err := repository.BeginUpkeep(ctx, f, o.Lock)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, u.End(context.WithoutCancel(ctx))) }()
	o.Until = e.Before
	swept, err := maintenance.Sweep(ctx, f, u, o)
	if err != nil || !swept.Appeared && swept.Removed.Objects == 0 {
		return err == nil && swept.Complete(), err
	}
	r, info, err := repository.ReadErasure(ctx, p.Store, e.ID)
	if err != nil {
		return false, err
	}
	at, err := now(ctx, p, o.Lock.Now)
	if err != nil {
		return false, err
	}
	r.Cut = at.UTC() // the former versions of removed objects go, too
	if swept.Appeared {
		r.Removed = at.UTC() // daemons may be folding from the removed checkpoint, for as long as at the beginning
	}
	if err := u.Check(); err != nil {
		return false, err
	}
	_, err = r.Put(ctx, p.Store, info.ETag)
	return err == nil && swept.Complete(), err
}

// gone continues the erasure of history of a backup that does not exist any more.
func gone(ctx context.Context, p repository.Config, e *repository.Erasure, o repository.LockOptions) (err error) {
	if !e.Unfinished() {
		return nil
	}
	u, err := repository.BeginCollection(ctx, p, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.End(context.WithoutCancel(ctx))) }()
	r, info, err := repository.ReadErasure(ctx, p.Store, e.ID)
	if err != nil || !r.Unfinished() {
		return err
	}
	at, err := now(ctx, p, o.Now)
	if err != nil {
		return err
	}
	if r.State == repository.ErasureRemoving {
		if err := collection.Condemn(ctx, p, u, readPacks(ctx, p.Store, r.ID)); err != nil {
			return err
		}
		r.State, r.Cut, r.Removed = repository.ErasurePending, at.UTC(), at.UTC()
	} else {
		r.State, r.Done = repository.ErasureDone, at.UTC()
	}
	if err := u.Check(); err != nil {
		return err
	}
	_, err = r.Put(ctx, p.Store, info.ETag)
	return err
}
