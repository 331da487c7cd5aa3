package collection

import (
	"context"
	"errors"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/objstore/rangecache"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// eraseVersions removes the versions of packs in Options.Erase that do not exist any more, and counts
// the packs that are left.
func (p *pass) eraseVersions(ctx context.Context) error {
	if p.opt.Erase == nil {
		return nil
	}
	var unclear []Pack
	for id, err := range p.opt.Erase {
		if err != nil {
			return err
		}
		key := history.PackKey(id)
		_, err = p.store.Stat(ctx, key)
		if err == nil {
			p.out.Erasing++ // not due, or kept
			continue
		}
		clear := false
		if errors.Is(err, objstore.ErrNotExist) {
			clear, err = p.eraseVersionsOf(ctx, key)
		}
		if err == nil && !clear {
			unclear = append(unclear, id)
		}
		if err == nil && len(unclear) == rewrittenAtOnce {
			err = p.eraseUnclear(ctx, unclear)
			unclear = unclear[:0]
		}
		if err != nil {
			return err
		}
	}
	if err := p.eraseUnclear(ctx, unclear); err != nil {
		return err
	}
	return p.eraseParked(ctx)
}

// eraseVersionsOf removes the versions of a pack that collection has removed: its note shows that
// other packs have every entry that is needed. If the pack is absent for another reason, its versions may be the
// only copies: then clear is false.
func (p *pass) eraseVersionsOf(ctx context.Context, key string) (clear bool, err error) {
	removed, err := p.removedWhole(ctx, key)
	if err != nil {
		return false, err
	}
	if !removed {
		there, err := p.hasVersions(ctx, key)
		return !there, err
	}
	return true, p.eraseAll(ctx, key)
}

// eraseUnclear removes the versions of packs that a repair has removed, if other packs have every entry that anything
// names. packs are in order.
func (p *pass) eraseUnclear(ctx context.Context, packs []Pack) (err error) {
	if len(packs) == 0 {
		return nil
	}
	elsewhere, err := p.elsewhere(ctx, packs)
	if err != nil {
		return err
	}
	for _, id := range packs {
		key := history.PackKey(id)
		if elsewhere[id] {
			err = p.eraseAll(ctx, key)
		} else {
			p.out.Erasing++
			p.out.keep(key, errVersions)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// elsewhere counts who names entries of packs that are absent, and returns the packs whose notes lead to each of these
// entries, or of which nobody names any.
func (p *pass) elsewhere(ctx context.Context, packs []Pack) (out map[Pack]bool, err error) {
	leads, err := p.leads(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, leads.close()) }()
	var infos []objstore.Info
	for _, id := range packs {
		infos = append(infos, objstore.Info{Key: history.PackKey(id)})
	}
	c := &counting{pass: p}
	if c.wanted, c.notes, err = withLeads(leads, infos, p.unread); err != nil {
		return nil, err
	}
	set, err := c.entries(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, set.close()) }()
	if _, doubtful := c.doubtfulNote(); doubtful || p.out.Blocking > 0 {
		return nil, nil
	}
	if err := keepLed(leads, c.doubt); err != nil {
		return nil, err
	}
	sorted, stop := readNamings(set)
	defer stop()
	objects := history.NewObjects(withoutNotes{rangecache.New(p.store, 16<<20)}, 0)
	out = map[Pack]bool{}
	for _, id := range packs {
		need, differ := sorted.neededOf(id)
		if sorted.err != nil {
			return nil, sorted.err
		}
		if differ != nil || c.doubt[id] {
			continue
		}
		if len(need) == 0 { // also without a note: a repair has found nothing that is readable
			out[id] = true
			continue
		}
		if out[id], err = p.noteLeads(ctx, objects, id, need); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// noteLeads reports whether the note about a pack leads to each of some entries. It reads them.
func (p *pass) noteLeads(ctx context.Context, objects *history.Objects, id Pack, need needed) (bool, error) {
	m, _, err := history.ReadMoved(ctx, p.store, history.PackKey(id))
	if err != nil {
		if errors.Is(err, objstore.ErrNotExist) || !failed(err) {
			return false, nil
		}
		return false, err
	}
	for entry, chunk := range need {
		at := history.Place{Chunk: chunk, Object: m.Entries[entry], Entry: entry}
		if at.Object == "" {
			return false, nil
		}
		if err := history.CheckChunk(ctx, objects, at); err != nil {
			if failed(err) {
				return false, err
			}
			return false, nil
		}
	}
	return true, nil
}

// errVersions reports a pack that is absent, but was not removed by collection.
var errVersions = errors.New("the pack is missing, and has former versions, which may be the only copies of messages of others: repair it first (ctl_backups verify --repair). If nothing can be repaired, remove these versions by the means of the store")

func (p *pass) hasVersions(ctx context.Context, key string) (bool, error) {
	for v, err := range p.store.Noncurrent(ctx, key, "") {
		if errors.Is(err, objstore.ErrUnsupported) {
			return false, nil
		}
		if err != nil || v.Key != key {
			return false, err
		}
		if !v.Marker {
			return true, nil
		}
	}
	return false, nil
}
