package collection

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
)

// erasedAge is how long a pack with erased bodies must have been condemned. A writer that has read
// the list before commits within little more than an hour, or reads it again (partitions, late.go);
// a copy into the partition does the same (package transfer).
const erasedAge = 2 * time.Hour

// age returns how long a pack must have been condemned.
func age(erased bool) time.Duration {
	if erased {
		return erasedAge
	}
	return condemnedAge
}

// erasing looks up packs in Options.Erase, in order.
type erasing struct {
	next func() (Pack, error, bool)
	stop func()
	at   Pack
	err  error
	more bool
}

func beginErasing(packs iter.Seq2[Pack, error]) *erasing {
	if packs == nil {
		return &erasing{stop: func() {}}
	}
	e := &erasing{}
	e.next, e.stop = iter.Pull2(packs)
	e.at, e.err, e.more = e.next()
	return e
}

// has reports whether a pack is to be erased. Calls are in order.
func (e *erasing) has(p Pack) (bool, error) {
	for e.err == nil && e.more && comparePacks(e.at, p) < 0 {
		e.at, e.err, e.more = e.next()
	}
	return e.err == nil && e.more && e.at == p, e.err
}

// eraseVersions removes the versions of packs in Options.Erase that do not exist any more, and counts
// the packs that are left.
func (p *pass) eraseVersions(ctx context.Context) error {
	if p.opt.Erase == nil {
		return nil
	}
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
		if errors.Is(err, objstore.ErrNotExist) {
			err = p.eraseVersionsOf(ctx, key)
		}
		if err != nil {
			return err
		}
	}
	return p.eraseParked(ctx)
}

// eraseVersionsOf removes the versions of a pack that collection has removed: its note shows that
// other packs have every entry that is needed. If the pack is absent for another reason, its versions may be the
// only copies.
func (p *pass) eraseVersionsOf(ctx context.Context, key string) error {
	removed, err := p.removedWhole(ctx, key)
	if err != nil {
		return err
	}
	if !removed {
		there, err := p.hasVersions(ctx, key)
		if there {
			p.out.Erasing++
			p.out.keep(key, errVersions)
		}
		return err
	}
	return p.eraseAll(ctx, key)
}

// eraseAll removes an object with all its versions.
func (p *pass) eraseAll(ctx context.Context, key string) error {
	if err := p.lease.Check(); err != nil {
		return err
	}
	err := objstore.EraseObject(ctx, p.store, key)
	var r *objstore.RetainedError
	switch {
	case errors.As(err, &r):
		p.out.Erasing++
		p.out.keep(key, err)
		if r.Until.After(p.out.Retained) {
			p.out.Retained = r.Until
		}
		return nil
	case errors.Is(err, objstore.ErrUnsupported):
		return nil // the store discloses no versions
	}
	return err
}

// errVersions reports a pack that is absent, but was not removed by collection.
var errVersions = errors.New("the pack is missing, and has former versions, which may be the only copies of messages of others: repair it first (ctl_backups verify --repair)")

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
