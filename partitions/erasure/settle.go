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
		x, oerr := s.one(ctx, e)
		if oerr != nil {
			err = errors.Join(err, fmt.Errorf("partition %s: erasure %s of %s: %w", p.Name, e.ID, e.Of(), oerr))
			continue
		}
		out = append(out, x)
	}
	return out, err
}

// settling is the end of one erasure.
type settling struct {
	p       repository.Config
	lease   *repository.Upkeep
	options repository.LockOptions

	collected *collection.Result
}

func (s *settling) one(ctx context.Context, was *repository.Erasure) (out Settled, err error) {
	e, info, err := repository.ReadErasure(ctx, s.p.Store, was.ID)
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
	if e.InPart() && !stillDue(was, e) {
		return out, nil
	}
	m := &remover{store: s.p.Store, check: s.lease.Check}
	if out.Left, err = s.left(ctx, e); err != nil {
		return out, err
	}
	if err := m.copies(ctx, e); err != nil {
		return out, err
	}
	former := s.former
	if e.InPart() {
		former = s.formerOfHistory
	}
	if e.Cancelled.IsZero() {
		if err := former(ctx, e, m); err != nil {
			return out, err
		}
	}
	return out, s.put(ctx, e, info.ETag, m, out.Left)
}

// former removes former versions of the backup.
func (s *settling) former(ctx context.Context, e *repository.Erasure, m *remover) error {
	return m.former(ctx, repository.BackupPrefix(e.Backup), e.Cut)
}

// formerOfHistory is former beside a backup that stays, or that has the name now: it may have a hold. It returns an error
// if the backup may be left, but not under its id.
func (s *settling) formerOfHistory(ctx context.Context, e *repository.Erasure, m *remover) (err error) {
	f, err := repository.FindPath(ctx, s.p, e.Backup)
	gone := errors.Is(err, repository.ErrNoBackup) || err == nil && !e.Concerns(f)
	if gone {
		f, err = notThere(ctx, s.p, e)
	}
	if err != nil {
		return err
	}
	if m.only, err = ofHistory(ctx, s.p, e, gone); err != nil {
		return err
	}
	if f == nil {
		return s.former(ctx, e, m)
	}
	o := s.options
	o.Wait = false // EraseHistory takes the two leases in the other order
	u, err := repository.BeginUpkeep(ctx, f, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.End(context.WithoutCancel(ctx))) }()
	m.check = func() error { return errors.Join(s.lease.Check(), u.Check()) }
	return s.former(ctx, e, m)
}

// put puts the record again if it has changed.
func (s *settling) put(ctx context.Context, e *repository.Erasure, etag string, m *remover, left int64) error {
	if c := s.collected; left > 0 && (c.LegalHold || !c.Retained.IsZero()) {
		if err := m.keep(&objstore.RetainedError{Until: c.Retained, LegalHold: c.LegalHold}); err != nil {
			return err
		}
	}
	switch {
	case m.retained != nil:
		m.note(e)
	case left > 0 || m.objects > 0 || s.collected.Blocking > 0: // the collection may have counted an object that has appeared
		return nil
	default:
		now, err := storeclock.Certain(ctx, s.p.Store, repository.Key, s.options.Now, time.Time{})
		if err != nil {
			return err
		}
		e.State, e.Done, e.Retained, e.LegalHold = repository.ErasureDone, now.UTC(), time.Time{}, false
	}
	if err := s.lease.Check(); err != nil {
		return err
	}
	if _, err := e.Put(ctx, s.p.Store, etag); err != nil || e.State != repository.ErasureDone {
		return err
	}
	return s.forget(ctx, e)
}

// forget removes the lists of an erasure.
func (s *settling) forget(ctx context.Context, e *repository.Erasure) error {
	m := &remover{store: s.p.Store, check: s.lease.Check}
	return m.lists(ctx, e)
}

// lists removes the lists of an erasure, that of packs last: while it is there, Open finds the erasure.
func (r *remover) lists(ctx context.Context, e *repository.Erasure) error {
	if e.InPart() {
		if err := r.erase(ctx, repository.ErasureBlocksKey(e.ID)); err != nil {
			return err
		}
	}
	return r.erase(ctx, repository.ErasurePacksKey(e.ID))
}

// left counts the packs that exist, or have former versions. Collection removes both.
func (s *settling) left(ctx context.Context, e *repository.Erasure) (n int64, err error) {
	err = collection.Condemn(ctx, s.p, s.lease, func(yield func(collection.Pack, error) bool) {
		for id, err := range existing(ctx, s.p, e) {
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
	if s.collected.Erasing == 0 && !e.InPart() {
		return n, nil
	}
	versions, err := s.formerPacks(ctx, e)
	return n + versions, err
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
