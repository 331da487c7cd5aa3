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
// a repair copies every entry of a damaged pack that is readable, erased ones too. lease is that of collection.
func Replaces(ctx context.Context, p repository.Config, lease *repository.Upkeep, old, now string) error {
	was, err := collection.ParsePack(old)
	if err != nil {
		return err
	}
	is, err := collection.ParsePack(now)
	if err != nil {
		return err
	}
	ids, err := listing(ctx, p, was)
	if err != nil {
		return err
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

// listing returns the ids of open erasures that have a pack on their list. A record that cannot be read may be one.
func listing(ctx context.Context, p repository.Config, pack collection.Pack) (ids []string, err error) {
	for e, err := range repository.Erasures(ctx, p, time.Time{}) {
		if err != nil && (e == nil || repository.IsStoreError(err)) {
			return nil, err
		}
		if err == nil && e.State == repository.ErasureDone {
			continue
		}
		for id, err := range readPacks(ctx, p.Store, e.ID) {
			if errors.Is(err, objstore.ErrNotExist) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("erasure %s: the pack may have erased messages: put back a former version of this object first: %w", e.ID, err)
			}
			if id == pack {
				ids = append(ids, e.ID)
				break
			}
		}
	}
	return ids, nil
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
