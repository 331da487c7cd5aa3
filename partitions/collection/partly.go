package collection

import (
	"context"
	"errors"
	"iter"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// Partly calls fn with those of some packs, in order, that may have an entry that the log of a backup and
// the checkpoints before it do not name: others may need it, or nobody. It leaves out packs that
// the backup needs completely, because there is nothing to erase in them. Packs that do not exist, or
// cannot be read, are not left out.
func Partly(ctx context.Context, f *repository.Found, packs iter.Seq2[Pack, error], fn func(iter.Seq2[Pack, error]) error) (err error) {
	p := &partly{f: f, objects: history.NewObjects(f.Partition.Store, 0), set: newNamingSet(namingsOfGroup)}
	defer func() { err = errors.Join(err, p.set.close()) }()
	if err := p.name(ctx); err != nil {
		return err
	}
	named, stop := readNamings(p.set)
	defer stop()
	return fn(func(yield func(Pack, error) bool) {
		for id, err := range packs {
			whole := false
			if err == nil {
				whole, err = p.whole(ctx, id, named)
			}
			if !whole && !yield(id, err) || err != nil {
				return
			}
		}
	})
}

type partly struct {
	f       *repository.Found
	objects *history.Objects
	set     *namingSet
}

// name finds the entries that the log and the checkpoints before it name. Those are all that a state needs:
// a later checkpoint may be that of a slow daemon, with bodies that were erased since.
func (p *partly) name(ctx context.Context) error {
	store, prefix := p.f.Partition.Store, repository.BackupPrefix(p.f.Path)
	first, err := p.f.Log().First(ctx)
	if err != nil {
		return err
	}
	for info, err := range store.List(ctx, prefix, "") {
		if err != nil {
			return err
		}
		switch o := parseObject(prefix, info); {
		case o.kind == kindLog:
			err = p.add(ctx, history.LogPlaces(ctx, store, o.Key))
		case o.kind == kindCheckpoint && o.to < first:
			err = p.checkpoint(ctx, o.to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *partly) checkpoint(ctx context.Context, n uint64) error {
	m, err := history.ReadCheckpoint(ctx, p.f.Partition.Store, p.f.Path, n)
	if err != nil {
		return err
	}
	return errors.Join(p.add(ctx, m.AllPlaces()), m.Close())
}

func (p *partly) add(ctx context.Context, places iter.Seq2[history.Place, error]) error {
	for at, err := range places {
		if err != nil {
			return err
		}
		n, ok, err := namingOf(at)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := p.set.add(n); err != nil {
			return err
		}
		if _, err := p.objects.Directory(ctx, at.Object); !errors.Is(err, objstore.ErrNotExist) {
			if err != nil && !history.IsDamage(err) {
				return err
			}
			continue
		}
		now, err := p.objects.Resolve(ctx, at)
		switch {
		case errors.Is(err, history.ErrNoPlace):
			continue // nothing leads on from here
		case err != nil:
			return err
		}
		if to, ok := packOf(now.Object); ok && to != n.pack() {
			if err := p.set.add(n.in(to)); err != nil {
				return err
			}
		}
	}
	return nil
}

// whole reports whether the backup names every entry of a pack.
func (p *partly) whole(ctx context.Context, id Pack, named *namings) (bool, error) {
	need, differ := named.neededOf(id)
	if named.err != nil {
		return false, named.err
	}
	if len(need) == 0 {
		return false, nil
	}
	dir, err := p.objects.Directory(ctx, history.PackKey(id))
	if errors.Is(err, objstore.ErrNotExist) || history.IsDamage(err) || differ != nil {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, e := range dir.Entries {
		if _, ok := need[e.Name]; !ok {
			return false, nil
		}
	}
	return true, nil
}
