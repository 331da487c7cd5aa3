package collection

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
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
		p.out.LegalHold = p.out.LegalHold || r.LegalHold
		return nil
	case errors.Is(err, objstore.ErrUnsupported):
		return nil // the store discloses no versions
	}
	return err
}
