package erasure

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// cutMargin allows for answers with whole seconds, and for servers of a store whose clocks differ. A
// new backup that begins within it keeps all its objects; only former versions of them may go.
const cutMargin = time.Minute

// prepare puts the packs of the copies beside the record, and condemns them.
func (p *partJob) prepare(ctx context.Context) (err error) {
	bases := p.left()
	cut, err := p.now(ctx)
	if err == nil && len(bases) > 0 && p.begun() == nil { // another run has ended that record
		err = p.add(ctx, repository.NewID(), cut)
	}
	r := p.begun()
	if err != nil || r == nil {
		return err
	}
	var prefixes []string
	for _, base := range bases {
		prefixes = append(prefixes, base+"/")
	}
	if len(bases) == 0 {
		return p.nothing(ctx)
	}
	named, err := collection.Name(ctx, p.Store, prefixes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, named.Close()) }()
	tag, err := listTag(ctx, p.Store, r.ID)
	if err != nil {
		return err
	}
	if r.Packs, err = putPacks(ctx, p.Store, r.ID, tag, named.Packs()); err != nil {
		return err
	}
	// The list that was put decides what to condemn.
	if err := collection.Condemn(ctx, p.Config, p.collect, readPacks(ctx, p.Store, r.ID)); err != nil {
		return err
	}
	if r.Objects, r.Bytes, err = p.size(ctx, prefixes); err != nil {
		return err
	}
	// Anything younger than a new backup is not of the erased one.
	if f := p.whole.Active; f != nil && !p.mine(f) && f.Info.Created.After(r.Since) && f.Info.Created.Before(cut) {
		cut = f.Info.Created
	}
	r.State, r.Cut, r.Copies, r.Unknown = repository.ErasureRemoving, cut.Add(cutMargin).UTC(), bases, int64(named.Unreadable)
	r.listed, r.unread = true, named.Unread
	p.prepared = r
	return nil
}

// lateHolds returns ErrOnHold if a hold has arrived in the former place of the backup. A daemon that
// checks its tripwire reads the backup for minutes before it places the hold.
func (p *partJob) lateHolds(ctx context.Context) error {
	var mine []*repository.Found // that nothing has been removed from
	for _, f := range p.whole.Aside {
		r := p.erasing(f.Aside)
		if p.aside[f.Aside] != nil && (r == nil || r == p.prepared || !r.Unfinished()) {
			mine = append(mine, f)
		}
	}
	if len(mine) == 0 {
		return nil
	}
	newest := slices.MaxFunc(mine, func(a, b *repository.Found) int {
		return strings.Compare(path.Base(a.Aside), path.Base(b.Aside))
	})
	if err := p.check(); err != nil {
		return err
	}
	if err := repository.TakeLateHolds(ctx, p.Config, newest); err != nil {
		return err
	}
	now, err := p.now(ctx)
	if err != nil {
		return err
	}
	if err := newest.CheckHolds(ctx, now); err != nil {
		return fmt.Errorf("%s: %w", newest.Aside, err)
	}
	return nil
}

// decide puts the record: from now on the copies are being removed.
func (p *partJob) decide(ctx context.Context) error {
	if p.prepared == nil {
		return nil
	}
	p.done = append(p.done, Done{Record: Record{p.Name, p.prepared.Erasure}, Unread: p.prepared.unread})
	return p.put(ctx, p.prepared)
}

// size adds up the objects below prefixes.
func (p *partJob) size(ctx context.Context, prefixes []string) (objects, bytes int64, err error) {
	for _, prefix := range prefixes {
		for info, err := range p.Store.List(ctx, prefix, "") {
			if err != nil {
				return 0, 0, err
			}
			objects++
			bytes += info.Size
		}
	}
	return objects, bytes, nil
}

// nothing ends erasures after another run has done everything.
func (p *partJob) nothing(ctx context.Context) error {
	for _, r := range p.records {
		if r.State != repository.ErasureBegun {
			continue
		}
		now, err := p.now(ctx)
		if err != nil {
			return err
		}
		r.State, r.Done = repository.ErasureDone, now.UTC()
		if err := p.put(ctx, r); err != nil {
			return err
		}
		if err := objstore.EraseObject(ctx, p.Store, repository.ErasurePacksKey(r.ID)); err != nil && !errors.Is(err, objstore.ErrUnsupported) {
			return err
		}
	}
	return nil
}

func (p *partJob) put(ctx context.Context, r *record) (err error) {
	if err = p.check(); err == nil {
		r.etag, err = r.Put(ctx, p.Store, r.etag)
	}
	return err
}
