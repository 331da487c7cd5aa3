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

// packing adds a pack to the list before it is put: after an interruption nothing may name it.
func (j *historyJob) packing(ctx context.Context, key string) error {
	id, err := collection.ParsePack(key)
	if err != nil {
		return err
	}
	return j.record(ctx, func(yield func(collection.Pack, error) bool) { yield(id, nil) })
}

// name adds the packs that the backup names now to the list beside the record.
func (j *historyJob) name(ctx context.Context) (err error) {
	store := j.f.Partition.Store
	named, err := collection.NameChunks(ctx, store, []string{repository.BackupPrefix(j.f.Path)}, j.chunks())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, named.Close()) }()
	if named.Unreadable > 0 {
		return fmt.Errorf("%w: nothing is erased from a backup that cannot be read: run ctl_backups verify", &named.Unread[0])
	}
	return j.record(ctx, named.Packs())
}

// chunks chooses the chunks whose packs are on the list.
func (j *historyJob) chunks() func(history.ChunkID) bool {
	if !j.ofMessages() {
		return func(history.ChunkID) bool { return true }
	}
	of := map[history.ChunkID]bool{}
	for _, m := range j.r.Messages {
		for _, c := range m.Chunks {
			of[c] = true
		}
	}
	return func(c history.ChunkID) bool { return of[c] }
}

// record adds packs to the list. If that is lost, nothing shows which packs have erased bodies, and it gets every pack.
func (j *historyJob) record(ctx context.Context, packs iter.Seq2[collection.Pack, error]) (err error) {
	store := j.f.Partition.Store
	lists := []iter.Seq2[collection.Pack, error]{packs}
	tag, err := listTag(ctx, store, j.r.ID)
	if err != nil {
		return err
	}
	switch err := checkList(ctx, store, j.r.Erasure); {
	case err == nil:
		lists = append(lists, readPacks(ctx, store, j.r.ID))
	case j.r.State != repository.ErasureBegun && history.IsDamage(err):
		if err := roomForAll(ctx, store); err != nil {
			return err
		}
		lists = append(lists, everyPack(ctx, store))
	case !errors.Is(err, objstore.ErrNotExist):
		return err
	}
	if err := j.check(); err != nil {
		return err
	}
	if j.r.Packs, err = putPacks(ctx, store, j.r.ID, tag, merged(lists)); err == nil {
		j.r.Unknown = 0
	}
	return err
}

// everyPack yields the packs that exist, in order.
func everyPack(ctx context.Context, s objstore.Store) iter.Seq2[collection.Pack, error] {
	return func(yield func(collection.Pack, error) bool) {
		for info, err := range s.List(ctx, "packs/", "") {
			var id collection.Pack
			if err == nil {
				if id, err = collection.ParsePack(info.Key); history.IsDamage(err) {
					continue
				}
			}
			if !yield(id, err) || err != nil {
				return
			}
		}
	}
}

// roomForAll returns an error if not all packs can be condemned. As long as the list is lost, a person can end the erasure.
func roomForAll(ctx context.Context, s objstore.Store) error {
	n := 0
	for _, err := range everyPack(ctx, s) {
		if err != nil {
			return err
		}
		n++
	}
	if n > collection.MostCondemned {
		return fmt.Errorf("its list of packs is lost, and the partition has %d packs: at most %d can be rewritten. End the erasure with --cancel: bodies may stay in packs that others use", n, collection.MostCondemned)
	}
	return nil
}
