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

// Open returns the erasures of a partition that are not complete: bodies may be left, or an
// interruption has left copies. Beside them it returns an error that names the records that are
// unreadable.
func Open(ctx context.Context, p repository.Config) (list []*repository.Erasure, err error) {
	var bad error
	var done *repository.Erasure // the last record, if it is done
	for info, err := range p.Store.List(ctx, repository.ErasedPrefix, "") {
		if err != nil {
			return nil, err
		}
		if done != nil && info.Key == repository.ErasurePacksKey(done.ID) { // it follows the record
			list = append(list, done)
		}
		done = nil
		id, ok := strings.CutSuffix(strings.TrimPrefix(info.Key, repository.ErasedPrefix), ".json")
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
		case e.State == repository.ErasureDone:
			done = e
		default:
			list = append(list, e)
		}
	}
	return list, bad
}

// Listed returns the erasures whose list of packs can be read. The error names the others: they must
// not keep the packs of other backups from being collected.
func Listed(ctx context.Context, p repository.Config, list []*repository.Erasure) (good []*repository.Erasure, bad error) {
	for _, e := range list {
		if e.State != repository.ErasureDone {
			if err := checkPacks(ctx, p.Store, e.ID); err != nil {
				bad = errors.Join(bad, fmt.Errorf("erasure %s of %s: bodies may be left in packs that others use, until a former version of this object is put back: %w", e.ID, e.Of(), err))
				continue
			}
		}
		good = append(good, e)
	}
	return good, bad
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
			if e.State != repository.ErasureDone {
				all = append(all, readPacks(ctx, p.Store, e.ID))
			}
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
