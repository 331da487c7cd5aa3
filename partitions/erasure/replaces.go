package erasure

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Replaces adds a pack to the list of each open erasure that has another pack. It is for verify.RepairOptions.Replacing:
// a repair copies every entry of a damaged pack that is readable, erased ones too. lease is that of collection. A list
// that cannot be read does not stop the repair: it is reported, and the record shows that packs are missing from the list.
func Replaces(ctx context.Context, p repository.Config, lease *repository.Upkeep, old, now string, report func(error)) error {
	was, err := collection.ParsePack(old)
	if err != nil {
		return err
	}
	is, err := collection.ParsePack(now)
	if err != nil {
		return err
	}
	ids, lost, err := listing(ctx, p, was, report)
	if err != nil {
		return err
	}
	for _, id := range lost {
		if err := lacks(ctx, p, lease, id); err != nil {
			return err
		}
	}
	for _, id := range ids {
		if err := lease.Check(); err != nil {
			return err
		}
		tag, err := listTag(ctx, p.Store, id)
		if err != nil {
			return err
		}
		one := func(yield func(collection.Pack, error) bool) { yield(is, nil) }
		lists := []iter.Seq2[collection.Pack, error]{readPacks(ctx, p.Store, id), one}
		if _, err := putPacks(ctx, p.Store, id, tag, merged(lists)); err != nil {
			return err
		}
	}
	return nil
}

// listing returns the ids of open erasures that have a pack on their list, and of those whose list is lost. A record that
// cannot be read may be an open one.
func listing(ctx context.Context, p repository.Config, pack collection.Pack, report func(error)) (ids, lost []string, err error) {
	for e, err := range repository.Erasures(ctx, p, time.Time{}) {
		if err != nil && (e == nil || repository.IsStoreError(err)) {
			return nil, nil, err
		}
		if err == nil && e.State == repository.ErasureDone {
			continue
		}
		begins := err != nil || e.State == repository.ErasureBegun
		on, err := onList(ctx, p, e.ID, pack)
		switch {
		case errors.Is(err, objstore.ErrNotExist) && begins: // it has named nothing yet
		case history.IsDamage(err):
			report(fmt.Errorf("partition %s: erasure %s: the damaged pack may have erased messages, and the new one is not on its list: %w", p.Name, e.ID, err))
			lost = append(lost, e.ID)
		case err != nil:
			return nil, nil, err
		case on:
			ids = append(ids, e.ID)
		}
	}
	return ids, lost, nil
}

// onList reads the whole list of an erasure.
func onList(ctx context.Context, p repository.Config, id string, pack collection.Pack) (on bool, err error) {
	for is, err := range readPacks(ctx, p.Store, id) {
		if err != nil {
			return false, err
		}
		on = on || is == pack
	}
	return on, nil
}

// lacks notes in the record of an erasure that its list, if somebody puts it back, lacks a pack. A record that cannot be
// read is left alone.
func lacks(ctx context.Context, p repository.Config, lease *repository.Upkeep, id string) error {
	e, info, err := repository.ReadErasure(ctx, p.Store, id)
	if err != nil {
		if history.IsDamage(err) || !repository.IsStoreError(err) {
			return nil
		}
		return err
	}
	e.Unknown++
	if err := lease.Check(); err != nil {
		return err
	}
	_, err = e.Put(ctx, p.Store, info.ETag)
	return err
}

// followNotes adds to the list of an erasure the packs that notes about its packs lead to, as long as those exist: a repair
// was interrupted before it removed the damaged pack, and perhaps before it noticed that the erasure had begun. The rewrite
// of a pack without erased messages, if that was interrupted, is then rewritten once more.
func followNotes(ctx context.Context, p repository.Config, lease *repository.Upkeep, e *repository.Erasure) error {
	if e.State != repository.ErasurePending {
		return nil
	}
	tag, err := listTag(ctx, p.Store, e.ID)
	if err != nil {
		return err
	}
	to := map[collection.Pack]bool{}
	for id, err := range existing(ctx, p, e) {
		if err == nil {
			err = noted(ctx, p, id, to)
		}
		if err != nil {
			return err
		}
	}
	if len(to) == 0 {
		return nil
	}
	more := slices.SortedFunc(maps.Keys(to), func(a, b collection.Pack) int { return slices.Compare(a[:], b[:]) })
	if err := lease.Check(); err != nil {
		return err
	}
	_, err = putPacks(ctx, p.Store, e.ID, tag, merged([]iter.Seq2[collection.Pack, error]{readPacks(ctx, p.Store, e.ID), func(yield func(collection.Pack, error) bool) {
		for _, id := range more {
			if !yield(id, nil) {
				return
			}
		}
	}}))
	return err
}

// noted adds the packs that the note about a pack leads to, if there is one. Collection reports a damaged note.
func noted(ctx context.Context, p repository.Config, id collection.Pack, to map[collection.Pack]bool) error {
	m, _, err := history.ReadMoved(ctx, p.Store, history.PackKey(id))
	if errors.Is(err, objstore.ErrNotExist) || history.IsDamage(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, key := range m.Entries {
		if other, err := collection.ParsePack(key); err == nil && other != id {
			to[other] = true
		}
	}
	return nil
}
