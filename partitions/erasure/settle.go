package erasure

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// Settled is an erasure after Settle.
type Settled struct {
	*repository.Erasure
	Left int64 // packs that still exist, or have former versions
}

// Settle ends the erasures whose packs a collection has removed. Packs that are no longer on the
// list of condemned packs are condemned again.
func Settle(ctx context.Context, p repository.Config, list []*repository.Erasure, r *collection.Result, o repository.LockOptions) (out []Settled, err error) {
	o.SetDefaults()
	u, err := repository.BeginCollection(ctx, p, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, u.End(context.WithoutCancel(ctx))) }()
	for _, e := range list {
		s := &settling{p: p, lease: u, options: o, collected: r}
		x, err := s.one(ctx, e.ID)
		if err != nil {
			return out, fmt.Errorf("partition %s: erasure %s of %s: %w", p.Name, e.ID, e.Of(), err)
		}
		out = append(out, x)
	}
	return out, nil
}

// settling is the end of one erasure.
type settling struct {
	p       repository.Config
	lease   *repository.Upkeep
	options repository.LockOptions

	collected *collection.Result
}

func (s *settling) one(ctx context.Context, id string) (out Settled, err error) {
	e, info, err := repository.ReadErasure(ctx, s.p.Store, id)
	if err != nil {
		return out, err
	}
	out.Erasure = e
	switch e.State {
	case repository.ErasurePending:
	case repository.ErasureDone: // this step was missing
		return out, s.forget(ctx, e)
	default:
		return out, nil
	}
	m := &remover{store: s.p.Store, check: s.lease.Check}
	if out.Left, err = s.left(ctx, e); err != nil {
		return out, err
	}
	if err := m.copies(ctx, e); err != nil {
		return out, err
	}
	if err := m.former(ctx, repository.BackupPrefix(e.Backup), e.Cut); err != nil {
		return out, err
	}
	return out, s.put(ctx, e, info.ETag, m, out.Left)
}

// put puts the record again if it has changed.
func (s *settling) put(ctx context.Context, e *repository.Erasure, etag string, m *remover, left int64) error {
	retained := m.retained != nil || left > 0 && !s.collected.Retained.IsZero()
	switch {
	case m.retained != nil && m.retained.Until.After(s.collected.Retained):
		e.Retained = m.retained.Until.UTC()
	case retained:
		e.Retained = s.collected.Retained.UTC()
	case left > 0 || m.objects > 0: // the collection may have counted an object that has appeared
		return nil
	default:
		now, err := storeclock.Certain(ctx, s.p.Store, repository.Key, s.options.Now, time.Time{})
		if err != nil {
			return err
		}
		e.State, e.Done, e.Retained = repository.ErasureDone, now.UTC(), time.Time{}
	}
	if err := s.lease.Check(); err != nil {
		return err
	}
	if _, err := e.Put(ctx, s.p.Store, etag); err != nil || e.State != repository.ErasureDone {
		return err
	}
	return s.forget(ctx, e)
}

// forget removes the list of packs.
func (s *settling) forget(ctx context.Context, e *repository.Erasure) error {
	m := &remover{store: s.p.Store, check: s.lease.Check}
	return m.erase(ctx, repository.ErasurePacksKey(e.ID))
}

// left counts the packs that exist, or have former versions. Collection removes both.
func (s *settling) left(ctx context.Context, e *repository.Erasure) (n int64, err error) {
	err = collection.Condemn(ctx, s.p, s.lease, func(yield func(collection.Pack, error) bool) {
		for id, err := range s.existing(ctx, e) {
			if n++; !yield(id, err) {
				return
			}
		}
	})
	if err != nil {
		return n, err
	}
	for _, err := range collection.Parked(ctx, s.p.Store, readPacks(ctx, s.p.Store, e.ID)) {
		if err != nil {
			return n, err
		}
		n++
	}
	if s.collected.Erasing == 0 {
		return n, nil
	}
	versions, err := s.formerPacks(ctx, e)
	return n + versions, err
}

// existing yields the packs of an erasure that exist.
func (s *settling) existing(ctx context.Context, e *repository.Erasure) iter.Seq2[collection.Pack, error] {
	return func(yield func(collection.Pack, error) bool) {
		next, stop := iter.Pull2(readPacks(ctx, s.p.Store, e.ID))
		defer stop()
		id, err, more := next()
		for info, lerr := range s.p.Store.List(ctx, "packs/", "") {
			if lerr != nil {
				yield(collection.Pack{}, lerr)
				return
			}
			for err == nil && more && history.PackKey(id) < info.Key {
				id, err, more = next()
			}
			if err != nil || !more {
				break
			}
			if history.PackKey(id) == info.Key && !yield(id, nil) {
				return
			}
		}
		for err == nil && more { // the rest of the list, so that its damage is noticed
			_, err, more = next()
		}
		if err != nil {
			yield(collection.Pack{}, err)
		}
	}
}

// formerPacks counts the packs that do not exist, but have former versions.
func (s *settling) formerPacks(ctx context.Context, e *repository.Erasure) (n int64, err error) {
	next, stop := iter.Pull2(readPacks(ctx, s.p.Store, e.ID))
	defer stop()
	id, err, more := next()
	last := ""
	for v, verr := range s.p.Store.Noncurrent(ctx, "packs/", "") {
		if errors.Is(verr, objstore.ErrUnsupported) {
			return 0, nil
		}
		if verr != nil {
			return 0, verr
		}
		for err == nil && more && history.PackKey(id) < v.Key {
			id, err, more = next()
		}
		if err != nil || !more {
			return n, err
		}
		if history.PackKey(id) != v.Key || v.Key == last || v.Marker {
			continue
		}
		last = v.Key
		_, serr := s.p.Store.Stat(ctx, v.Key)
		switch {
		case errors.Is(serr, objstore.ErrNotExist):
			n++
		case serr != nil:
			return 0, serr
		}
	}
	return n, err
}
