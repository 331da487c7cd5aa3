package erasure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// SweepHistory removes the rest of erased history from the backup, before its packs are collected. If the result is
// complete, they can be: nothing in the backup names the erased bodies any more. It is called
// before retention, which leaves blocks that readers may still need. e is the record that was found due.
func SweepHistory(ctx context.Context, p repository.Config, e *repository.Erasure, o maintenance.ForgetOptions) (out maintenance.Swept, err error) {
	o.Lock.SetDefaults()
	if e.State == repository.ErasureBegun {
		return cancelBegun(ctx, p, e, o.Lock)
	}
	if !e.Cancelled.IsZero() { // nothing was removed, and only packs are left that it had put
		return out, nil
	}
	f, err := repository.FindPath(ctx, p, e.Backup)
	if errors.Is(err, repository.ErrNoBackup) || err == nil && !e.Concerns(f) {
		return out, gone(ctx, p, e, o.Lock)
	}
	if err != nil {
		return out, err
	}
	if e.State != repository.ErasurePending {
		return out, fmt.Errorf("the erasure of %s was interrupted: run it again", e.Of())
	}
	u, err := repository.BeginUpkeep(ctx, f, o.Lock)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, u.End(context.WithoutCancel(ctx))) }()
	s := &historySweep{p: p, f: f, u: u, lock: o.Lock}
	now, info, err := repository.ReadErasure(ctx, p.Store, e.ID)
	if err != nil {
		return out, err
	}
	s.r = &record{Erasure: now, etag: info.ETag}
	if !stillDue(e, now) { // another run has ended it, or has put blocks that daemons may use
		return changedMeanwhile(), nil
	}
	err = s.run(ctx, o, &out)
	return out, err
}

// historySweep is a run of SweepHistory.
type historySweep struct {
	p    repository.Config
	f    *repository.Found
	u    *repository.Upkeep
	lock repository.LockOptions
	r    *record
}

func (s *historySweep) run(ctx context.Context, o maintenance.ForgetOptions, out *maintenance.Swept) error {
	other, err := s.other(ctx)
	if err != nil {
		return err
	}
	if other != nil && other.Unfinished() {
		*out = maintenance.Swept{Waiting: "another erasure of a part of it was interrupted: run erase again"}
		return nil
	}
	if other != nil {
		_, at := Due(other, time.Time{})
		*out = maintenance.Swept{Waiting: "another erasure of a part of it has replaced objects that a daemon may be using", Until: at}
		return nil
	}
	o.Until, o.Found = s.r.Before, s.keepStale
	if s.r.OfMessages() {
		o.Messages = &maintenance.Messages{Erasure: s.r.ID, List: s.r.Messages, Commit: s.r.Commit, At: s.r.Erased}
	}
	if o.Stale, err = s.stale(ctx); err != nil {
		return err
	}
	// Before each change the record shows it, so that an interrupted run does not shorten the time to wait.
	o.Cutting = func(ctx context.Context) error {
		if s.r.OfMessages() {
			if err := s.nameAgain(ctx); err != nil {
				return err
			}
		}
		return s.put(ctx, func(at time.Time) { s.r.Removed = at })
	}
	o.Moving = func(ctx context.Context) error {
		return s.put(ctx, func(at time.Time) { s.r.Waits = at.Add(HistoryGrace) })
	}
	o.Since = s.r.Since
	if *out, err = maintenance.Sweep(ctx, s.f, s.u, o); err != nil {
		if ofBackup(ctx, err) {
			err = errors.Join(err, s.put(ctx, func(at time.Time) { s.r.Failed = at }))
		}
		return err
	}
	if o.Messages != nil {
		s.r.surveyed(o.Messages)
	}
	return s.put(ctx, func(at time.Time) {
		s.r.Failed = time.Time{}
		s.r.Cut = at // the former versions of removed objects go, too
		switch {
		case out.Appeared:
			s.r.Removed = at
		case out.Moved:
			s.r.Waits = at.Add(HistoryGrace)
		case out.Waiting != "":
			s.r.Waits = out.Until.UTC()
		}
	})
}

// nameAgain comes before the places of erased messages are removed that a delayed request has put: it adds the packs that they
// lead to to the list, because nothing else shows them afterwards. The erasure then waits again.
func (s *historySweep) nameAgain(ctx context.Context) (err error) {
	if err := s.f.MarkErased(ctx); err != nil { // a repair may have rewritten backup.json
		return err
	}
	c, err := repository.BeginCollection(ctx, s.p, s.lock)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.End(context.WithoutCancel(ctx))) }()
	j := &historyJob{f: s.f, backup: s.u, collect: c, r: s.r}
	for _, m := range s.r.Messages {
		j.messages = append(j.messages, m.GUID)
	}
	if err := j.name(ctx); err != nil {
		return err
	}
	return collection.Condemn(ctx, s.p, c, readPacks(ctx, s.p.Store, s.r.ID))
}

// ofBackup reports whether an erasure of history has failed because of the backup: another run fails, too, until a person
// repairs it. err is that of maintenance.Forget or Sweep.
func ofBackup(ctx context.Context, err error) bool {
	return ctx.Err() == nil && !repository.IsStoreError(err) && !errors.Is(err, repository.ErrUpkeep) && !errors.Is(err, maintenance.ErrTooYoung)
}

// stale returns the blocks that an earlier sweep has found, or nil: there was none since a checkpoint with the content has
// existed last, or the list is lost. Then they are found again.
func (s *historySweep) stale(ctx context.Context) (*maintenance.StaleBlocks, error) {
	if !s.r.Stale.After(s.r.Removed) {
		return nil, nil
	}
	out := &maintenance.StaleBlocks{At: s.r.Stale}
	for id, err := range readList(ctx, s.p.Store, repository.ErasureBlocksKey(s.r.ID)) {
		if history.IsDamage(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		out.IDs = append(out.IDs, id)
	}
	return out, nil
}

// keepStale puts the list of the blocks that a sweep has found, and then the record.
func (s *historySweep) keepStale(ctx context.Context, found *maintenance.StaleBlocks) error {
	key := repository.ErasureBlocksKey(s.r.ID)
	tag, err := tagOf(ctx, s.p.Store, key)
	if err == nil {
		err = s.u.Check()
	}
	if err != nil {
		return err
	}
	_, err = putList(ctx, s.p.Store, key, tag, func(yield func(collection.Pack, error) bool) {
		for _, id := range found.IDs {
			if !yield(id, nil) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return s.put(ctx, func(time.Time) { s.r.Stale = found.At.UTC() })
}

// other returns another erasure of history of this backup after which daemons may be using objects, or nil.
func (s *historySweep) other(ctx context.Context) (*repository.Erasure, error) {
	at, err := now(ctx, s.p, s.lock.Now)
	if err != nil {
		return nil, err
	}
	for e, err := range repository.Erasures(ctx, s.p, time.Time{}) {
		switch {
		case err != nil && (e == nil || repository.IsStoreError(err)):
			return nil, err
		case err != nil || e.ID == s.r.ID || !e.Concerns(s.f) || e.State == repository.ErasureDone || !e.Cancelled.IsZero():
			continue // compact reports a record that is unreadable
		}
		if due, _ := Due(e, at); !due && e.State != repository.ErasureBegun {
			return e, nil
		}
	}
	return nil, nil
}

// put changes the record at the store's time.
func (s *historySweep) put(ctx context.Context, change func(at time.Time)) error {
	at, err := now(ctx, s.p, s.lock.Now)
	if err != nil {
		return err
	}
	change(at.UTC())
	if err := s.u.Check(); err != nil {
		return err
	}
	s.r.etag, err = s.r.Put(ctx, s.p.Store, s.r.etag)
	return err
}

var errMayBe = errors.New("may have this content, but not under the id of the backup")

// notThere returns errMayBe if the backup of an erasure may be left, perhaps with another id after a repair. other is
// the backup that has its name now, or nil.
func notThere(ctx context.Context, p repository.Config, e *repository.Erasure) (other *repository.Found, err error) {
	w, err := repository.Everything(ctx, p, e.Of())
	if err != nil {
		return nil, err
	}
	where := ""
	if len(w.Strays) > 0 {
		where = w.Strays[0] + "/"
	}
	for _, f := range w.Aside {
		if e.MayConcern(f) {
			where = f.Aside + "/"
		}
	}
	if w.Active != nil && e.MayConcern(w.Active) {
		where = repository.BackupPrefix(e.Backup)
	}
	if where != "" {
		return nil, fmt.Errorf("%s %w: repair it, or end the erasure of the whole backup, and run erase again. If it is another backup, end this erasure with erase %s --cancel", where, errMayBe, PartOption(e))
	}
	return w.Active, nil
}

// gone continues the erasure of history of a backup that does not exist any more.
func gone(ctx context.Context, p repository.Config, e *repository.Erasure, o repository.LockOptions) (err error) {
	u, err := repository.BeginCollection(ctx, p, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.End(context.WithoutCancel(ctx))) }()
	r, info, err := repository.ReadErasure(ctx, p.Store, e.ID)
	if err != nil || r.State == repository.ErasureDone {
		return err
	}
	other, err := notThere(ctx, p, r)
	if err != nil {
		return err
	}
	if r.State != repository.ErasureRemoving {
		return nil
	}
	at, err := now(ctx, p, o.Now)
	if err != nil {
		return err
	}
	if err := collection.Condemn(ctx, p, u, readPacks(ctx, p.Store, r.ID)); err != nil {
		return err
	}
	r.State, r.Cut, r.Removed = repository.ErasurePending, at.UTC(), at.UTC()
	if other != nil && other.Info.Created.Before(at) { // anything younger is not of the erased one
		r.Cut = other.Info.Created.UTC()
	}
	if err := u.Check(); err != nil {
		return err
	}
	_, err = r.Put(ctx, p.Store, info.ETag)
	return err
}
