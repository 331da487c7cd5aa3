package erasure

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Grace is how long after the removal of the copies the users of packs are counted: a writer relies
// on a list of condemned packs for at most ten minutes, and on its commit for an hour.
const Grace = 2 * time.Hour

// Open returns the erasures of a partition whose bodies may be left, and erasures that were
// interrupted while they removed the copies. Beside them it returns an error that names the records
// that are unreadable.
func Open(ctx context.Context, p repository.Config) (list []*repository.Erasure, err error) {
	var bad error
	for info, err := range p.Store.List(ctx, repository.ErasedPrefix, "") {
		if err != nil {
			return nil, err
		}
		// The list of packs exists until the erasure is done.
		id, ok := strings.CutSuffix(strings.TrimPrefix(info.Key, repository.ErasedPrefix), ".packs.zst")
		if !ok {
			continue
		}
		e, _, err := repository.ReadErasure(ctx, p.Store, id)
		switch {
		case errors.Is(err, objstore.ErrNotExist):
		case err != nil && !history.IsDamage(err):
			return nil, err
		case err != nil:
			bad = errors.Join(bad, err)
		default:
			list = append(list, e)
		}
	}
	return list, bad
}

// Due reports whether bodies can be removed, or when.
func Due(e *repository.Erasure, now time.Time) (due bool, at time.Time) {
	at = e.Removed.Add(Grace)
	return e.State == repository.ErasurePending && now.After(at), at
}

// Packs yields the packs of erasures in order, each once, for collection.
func Packs(ctx context.Context, p repository.Config, list []*repository.Erasure) iter.Seq2[collection.Pack, error] {
	return func(yield func(collection.Pack, error) bool) {
		var all []iter.Seq2[collection.Pack, error]
		for _, e := range list {
			all = append(all, readPacks(ctx, p.Store, e.ID))
		}
		for id, err := range merged(all) {
			if !yield(id, err) || err != nil {
				return
			}
		}
	}
}

// Sweep removes what has appeared in the place of the copies since they were removed: a delayed
// request may have put it. It is called before the collection, which would count what that names.
func Sweep(ctx context.Context, p repository.Config, list []*repository.Erasure, o repository.LockOptions) (err error) {
	if len(list) == 0 {
		return nil
	}
	o.SetDefaults()
	u, err := repository.BeginCollection(ctx, p, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.End(context.WithoutCancel(ctx))) }()
	m := &remover{store: p.Store, check: u.Check}
	for _, e := range list {
		if err := m.copies(ctx, e); err != nil {
			return fmt.Errorf("partition %s: erasure %s of %s: %w", p.Name, e.ID, e.Of(), err)
		}
	}
	return nil
}

// copies removes objects that have appeared in the place of copies.
func (r *remover) copies(ctx context.Context, e *repository.Erasure) error {
	if e.State != repository.ErasurePending && e.State != repository.ErasureDone {
		return nil
	}
	for _, base := range e.Copies {
		there, err := repository.IsAside(ctx, r.store, base)
		if err == nil && !there { // else another backup was set aside in the same second
			err = r.empty(ctx, base+"/", nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
