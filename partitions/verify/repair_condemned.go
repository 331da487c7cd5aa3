package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"regexp"
	"slices"

	"github.com/dustin/go-humanize/english"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// mostCondemned is the number of packs that a list has room for.
const mostCondemned = 400_000

// condemned replaces an unreadable or lost list of condemned packs. A request to delete a pack that
// was on the list may still arrive, so the pack must stay on it: otherwise others refer to it.
// The new list has the packs whose names can be read in the old one, and all packs with a
// note in moved/, because collection puts the note before it deletes a pack. It condemns them
// from now on. Collection must not run meanwhile.
func (r *repairer) condemned(ctx context.Context) (err error) {
	if !r.diagnosis.condemned && !r.diagnosis.collection {
		return nil
	}
	lease, err := repository.BeginCollection(ctx, r.f.Partition, r.o.Lock)
	if err != nil {
		return fmt.Errorf("repair %s and %s: %w", history.CondemnedKey, repository.CollectionKey, err)
	}
	defer func() { err = errors.Join(err, lease.End(context.WithoutCancel(ctx))) }()
	if r.diagnosis.collection {
		r.report(Repaired, repository.CollectionKey, "rewritten; nobody removed packs")
	}
	if err := repository.CheckCondemned(ctx, r.store); err == nil || !history.IsUnreadable(err) {
		return err
	}
	info, err := r.store.Stat(ctx, history.CondemnedKey)
	if err != nil && !errors.Is(err, objstore.ErrNotExist) {
		return err
	}
	packs := map[string]bool{}
	if err := r.readableCondemned(ctx, packs); err != nil {
		return err
	}
	if err := r.notedPacks(ctx, packs); err != nil {
		return err
	}
	now, err := lease.Now(ctx)
	if err != nil {
		return err
	}
	list := &history.Condemned{Version: history.Version, Packs: []history.CondemnedPack{}}
	for _, key := range slices.Sorted(maps.Keys(packs)) {
		list.Packs = append(list.Packs, history.CondemnedPack{Key: key, Since: now.UTC()})
	}
	b, err := list.Append(nil)
	if err != nil {
		return err
	}
	if err := lease.Check(); err != nil {
		return err
	}
	if err := r.replace(ctx, history.CondemnedKey, info.ETag, b); err != nil {
		return err
	}
	r.report(Repaired, history.CondemnedKey, "replaced by a list of %s: those whose names are readable, and those that a delayed request may delete. Nothing new refers to them, and none is deleted within a day",
		english.Plural(len(packs), "pack", ""))
	return nil
}

// readableCondemned adds the packs whose names can be read in the damaged list. A name that
// damage has changed is that of no pack.
func (r *repairer) readableCondemned(ctx context.Context, packs map[string]bool) error {
	body, _, drop, err := repository.ReadWhole(ctx, r.store, history.CondemnedKey)
	if history.IsUnreadable(err) || errors.Is(err, objstore.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer drop()
	b, err := io.ReadAll(io.LimitReader(body, 64<<20))
	if err != nil {
		return err
	}
	for _, key := range regexp.MustCompile(`packs/[0-9a-f]{2}/[0-9a-f]{64}\.tar\.zst`).FindAll(b, mostCondemned) {
		packs[string(key)] = true
	}
	return nil
}

// notedPacks adds the packs that exist and that have a note in moved/.
func (r *repairer) notedPacks(ctx context.Context, packs map[string]bool) error {
	notes, stop := iter.Pull2(r.store.List(ctx, "moved/", ""))
	defer stop()
	note, nerr, more := notes()
	for pack, err := range r.store.List(ctx, "packs/", "") {
		if err != nil {
			return err
		}
		key, ok := history.MovedKey(pack.Key)
		if !ok {
			continue
		}
		for more && nerr == nil && note.Key < key { // both lists are in the order of the hashes
			note, nerr, more = notes()
		}
		if nerr != nil {
			return nerr
		}
		if more && note.Key == key {
			packs[pack.Key] = true
		}
		if len(packs) > mostCondemned {
			return fmt.Errorf("%s: more than %d packs have notes in moved/, so the list cannot be made again", history.CondemnedKey, mostCondemned)
		}
	}
	return nil
}
