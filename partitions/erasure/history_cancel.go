package erasure

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// refused ends the record of an erasure that was refused before it removed anything. Else it would keep the backup from
// being moved, and its packs from being collected, for ever. After a failure of the store, the next run continues, or
// SweepHistory ends the record.
func (j *historyJob) refused(ctx context.Context, err error) error {
	if repository.IsStoreError(err) || ctx.Err() != nil {
		return nil
	}
	if j.r.State != repository.ErasureBegun {
		return j.failed(ctx, err)
	}
	j.done = j.earlier
	return cancelErasure(ctx, j.f.Partition, j.collect, j.r)
}

// failed notes that the erasure cannot be completed because of the backup. A run that has changed nothing yet does not
// adopt the record of another backup by that.
func (j *historyJob) failed(ctx context.Context, err error) error {
	if !ofBackup(ctx, err) {
		return nil
	}
	p := j.f.Partition
	e, info, err := repository.ReadErasure(ctx, p.Store, j.r.ID)
	if err != nil || !e.Concerns(j.f) {
		return err
	}
	at, err := now(ctx, p, j.Forget.Lock.Now)
	if err == nil {
		err = j.check()
	}
	if err != nil {
		return err
	}
	e.Failed = at.UTC()
	_, err = e.Put(ctx, p.Store, info.ETag)
	return err
}

// cancelErasure ends an erasure that has removed nothing. Packs on its list that the backup does not name are of
// segments that it has not put: it has announced them, and only the list shows them. The record stays until a collection
// has removed them. Otherwise the record is removed, and its list before it.
func cancelErasure(ctx context.Context, p repository.Config, lease *repository.Upkeep, r *record) error {
	left, err := keepUnnamed(ctx, p, lease, r)
	if err != nil {
		return err
	}
	if left > 0 {
		if err := collection.Condemn(ctx, p, lease, readPacks(ctx, p.Store, r.ID)); err != nil {
			return err
		}
		at, err := now(ctx, p, lease.Options.Now)
		if err == nil {
			err = lease.Check()
		}
		if err != nil {
			return err
		}
		r.State, r.Cancelled, r.Removed, r.Packs = repository.ErasurePending, at.UTC(), at.UTC(), left
		r.etag, err = r.Put(ctx, p.Store, r.etag)
		return err
	}
	// Nothing continues a record that is done: a request to delete it may arrive late.
	r.State, r.Cancelled, r.Done = repository.ErasureDone, r.Since, r.Since
	if err := lease.Check(); err != nil {
		return err
	}
	if r.etag, err = r.Put(ctx, p.Store, r.etag); err != nil {
		return err
	}
	m := &remover{store: p.Store, check: lease.Check}
	if err := m.lists(ctx, r.Erasure); err != nil {
		return err
	}
	if err := lease.Check(); err != nil {
		return err
	}
	return p.Store.Delete(ctx, repository.ErasureKey(r.ID))
}

// keepUnnamed takes the packs off the list that the backup names, and returns how many are left. A list that is not
// there, or is damaged, shows none.
func keepUnnamed(ctx context.Context, p repository.Config, lease *repository.Upkeep, r *record) (left int64, err error) {
	tag, err := listTag(ctx, p.Store, r.ID)
	if err != nil {
		return 0, err
	}
	switch err := checkPacks(ctx, p.Store, r.ID); {
	case history.IsDamage(err):
		return 0, nil
	case err != nil:
		return 0, err
	}
	named, err := collection.Name(ctx, p.Store, []string{repository.BackupPrefix(r.Backup)})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, named.Close()) }()
	if err := lease.Check(); err != nil {
		return 0, err
	}
	return putPacks(ctx, p.Store, r.ID, tag, without(readPacks(ctx, p.Store, r.ID), named.Packs()))
}

// without yields the packs of a list that another one lacks. Both are in order.
func without(list, other iter.Seq2[collection.Pack, error]) iter.Seq2[collection.Pack, error] {
	return func(yield func(collection.Pack, error) bool) {
		next, stop := iter.Pull2(other)
		defer stop()
		at, oerr, more := next()
		for id, err := range list {
			for oerr == nil && more && slices.Compare(at[:], id[:]) < 0 {
				at, oerr, more = next()
			}
			if err = errors.Join(err, oerr); err == nil && more && at == id {
				continue
			}
			if !yield(id, err) || err != nil {
				return
			}
		}
	}
}

// cancelBegun ends an erasure that was interrupted before it removed anything. The error is about that. out is about one
// that another run has continued or ended meanwhile.
func cancelBegun(ctx context.Context, p repository.Config, e *repository.Erasure, o repository.LockOptions) (out maintenance.Swept, err error) {
	u, err := repository.BeginCollection(ctx, p, o) // EraseHistory holds it while it changes the record
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, u.End(context.WithoutCancel(ctx))) }()
	now, info, err := repository.ReadErasure(ctx, p.Store, e.ID)
	if errors.Is(err, objstore.ErrNotExist) || err == nil && now.State != repository.ErasureBegun {
		return changedMeanwhile(), nil
	}
	if err == nil {
		err = cancelErasure(ctx, p, u, &record{Erasure: now, etag: info.ETag})
	}
	if err != nil {
		return out, err
	}
	return out, errors.New("it was interrupted before it removed anything, and has ended: run erase again")
}

// changedMeanwhile is the result of a sweep that has found a record in another state.
func changedMeanwhile() maintenance.Swept {
	return maintenance.Swept{Waiting: "another run has changed its record"}
}

// errCompletes reports an erasure that can be completed, so that nobody has to cancel it.
var errCompletes = errors.New("it can be completed: run erase with the same options, or compact -A. If that fails because of the backup, it can be ended")

// OpenParts returns the erasures of parts of a backup, as chosen by is, that are not done.
func OpenParts(ctx context.Context, parts []repository.Config, n repository.Name, is func(*repository.Erasure) bool) (out []Record, err error) {
	for _, p := range parts {
		for e, err := range repository.Erasures(ctx, p, time.Time{}) {
			if err != nil && (e == nil || repository.IsStoreError(err)) {
				return nil, err
			}
			if err == nil && e.InPart() && e.State != repository.ErasureDone && e.Backup == n.Path() && is(e) {
				out = append(out, Record{p.Name, e})
			}
		}
	}
	return out, nil
}

// CancelHistory ends an erasure of history that cannot be completed, because nothing shows whether the backup that has
// the name now has that history, because its list of packs is lost, or because the last run has failed on the backup. A
// person has decided so. Erased content may be left.
func CancelHistory(ctx context.Context, p repository.Config, id string, o repository.LockOptions) (e *repository.Erasure, err error) {
	o.SetDefaults()
	u, err := repository.BeginCollection(ctx, p, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, u.End(context.WithoutCancel(ctx))) }()
	e, info, err := repository.ReadErasure(ctx, p.Store, id)
	if err != nil || e.State == repository.ErasureDone || !e.InPart() {
		return e, err
	}
	if err := hopeless(ctx, p, e, o); err != nil {
		return nil, err
	}
	at, err := now(ctx, p, o.Now)
	if err == nil {
		err = unused(e, info, at)
	}
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
	return e, m.lists(ctx, e)
}

// unused returns an error while daemons may be using objects that the erasure has replaced: once it has ended, retention
// removes them. info is that of the record, which was put before the first change. That run may have taken a while.
func unused(e *repository.Erasure, info objstore.Info, now time.Time) error {
	until := e.Removed.Add(HistoryGrace)
	if e.Waits.After(until) {
		until = e.Waits
	}
	if e.State == repository.ErasureRemoving && !info.Modified.After(now) {
		until = info.Modified.Add(24 * time.Hour)
	}
	if e.State != repository.ErasureBegun && e.Cancelled.IsZero() && now.Before(until) {
		return fmt.Errorf("daemons may be using objects that it has replaced, until %s: try again then", until.UTC().Format(time.RFC3339))
	}
	return nil
}

// hopeless returns errCompletes if an erasure of history can be completed.
func hopeless(ctx context.Context, p repository.Config, e *repository.Erasure, o repository.LockOptions) error {
	if e.State != repository.ErasureBegun {
		err := checkList(ctx, p.Store, e)
		if history.IsDamage(err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	f, err := repository.FindPath(ctx, p, e.Backup)
	if errors.Is(err, repository.ErrNoBackup) || err == nil && !e.Concerns(f) {
		_, err = notThere(ctx, p, e)
	} else if err == nil && !e.Failed.IsZero() {
		return nil
	} else if err == nil && e.OfMessages() {
		if lost, err := eventLost(ctx, e, f, o); lost || repository.IsStoreError(err) {
			return err
		}
	}
	switch {
	case errors.Is(err, errMayBe):
		return nil
	case err == nil:
		return errCompletes
	}
	return err
}
