package erasure

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// nameAgain adds packs to the list of an erasure that was interrupted before it removed all copies,
// and condemns them. Since then a collection may have rewritten packs of the list: the copies still
// used them.
func (p *partJob) nameAgain(ctx context.Context, r *record) (err error) {
	if r.listed {
		return nil // in this run, under the lease of collection
	}
	var prefixes []string
	for _, base := range r.Copies {
		there, err := repository.IsAside(ctx, p.Store, base)
		if err != nil {
			return err
		}
		if there {
			prefixes = append(prefixes, base+"/")
		}
	}
	if len(prefixes) == 0 {
		return nil
	}
	named, err := collection.Name(ctx, p.Store, prefixes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, named.Close()) }()
	lists := []iter.Seq2[collection.Pack, error]{named.Packs()}
	r.Unknown = max(r.Unknown, int64(named.Unreadable))
	tag, err := listTag(ctx, p.Store, r.ID)
	if err != nil {
		return err
	}
	switch err := checkPacks(ctx, p.Store, r.ID); {
	case err == nil:
		lists = append(lists, readPacks(ctx, p.Store, r.ID))
	case errors.Is(err, objstore.ErrNotExist) || history.IsDamage(err):
		r.Unknown++ // what only the list named is unused once the copies are gone
	default:
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	if r.Packs, err = putPacks(ctx, p.Store, r.ID, tag, merged(lists)); err != nil {
		return err
	}
	if err := collection.Condemn(ctx, p.Config, p.collect, readPacks(ctx, p.Store, r.ID)); err != nil {
		return err
	}
	r.listed = true
	return nil
}

// checkList reads the list of packs of an erasure to its end. One of history that lacks packs is as good as damaged.
func checkList(ctx context.Context, s objstore.Store, e *repository.Erasure) error {
	if e.InPart() && e.Unknown > 0 {
		return fmt.Errorf("%s: %w: it lacks packs, which a repair has put while it could not be read", repository.ErasurePacksKey(e.ID), history.ErrCorrupt)
	}
	return checkPacks(ctx, s, e.ID)
}

// checkPacks reads the list of packs of an erasure to its end.
func checkPacks(ctx context.Context, s objstore.Store, id string) error {
	for _, err := range readPacks(ctx, s, id) {
		if err != nil {
			return err
		}
	}
	return nil
}
