package erasure

import (
	"context"
	"errors"
	"time"

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

// errCompletes reports an erasure that can be completed, so that nobody has to cancel it.
var errCompletes = errors.New("its backup is there: run erase with the same time, or compact -A, to complete it")

// OpenHistories returns the erasures of the history of a backup before a time that are not done.
func OpenHistories(ctx context.Context, parts []repository.Config, n repository.Name, before time.Time) (out []Record, err error) {
	for _, p := range parts {
		for e, err := range repository.Erasures(ctx, p, time.Time{}) {
			if err != nil && (e == nil || repository.IsStoreError(err)) {
				return nil, err
			}
			if err == nil && e.OfHistory() && e.State != repository.ErasureDone && e.Backup == n.Path() && e.Before.Equal(before) {
				out = append(out, Record{p.Name, e})
			}
		}
	}
	return out, nil
}

// CancelHistory ends an erasure of history that cannot be completed, because nothing shows whether the backup that has
// the name now has that history. A person has decided that it has not. Bodies may be left.
func CancelHistory(ctx context.Context, p repository.Config, id string, o repository.LockOptions) (e *repository.Erasure, err error) {
	o.SetDefaults()
	u, err := repository.BeginCollection(ctx, p, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, u.End(context.WithoutCancel(ctx))) }()
	e, info, err := repository.ReadErasure(ctx, p.Store, id)
	if err != nil || e.State == repository.ErasureDone || !e.OfHistory() {
		return e, err
	}
	f, err := repository.FindPath(ctx, p, e.Backup)
	if err == nil && e.Concerns(f) {
		err = errCompletes
	}
	if err != nil && !errors.Is(err, repository.ErrNoBackup) {
		return nil, err
	}
	at, err := now(ctx, p, o.Now)
	if err == nil {
		err = u.Check()
	}
	if err != nil {
		return nil, err
	}
	e.State, e.Done, e.Cancelled = repository.ErasureDone, at.UTC(), at.UTC()
	if _, err := e.Put(ctx, p.Store, info.ETag); err != nil {
		return nil, err
	}
	m := &remover{store: p.Store, check: u.Check}
	return e, m.erase(ctx, repository.ErasurePacksKey(id))
}
