package erasure

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/cyrusbackup/backupd/internal/cyrus"
	"github.com/cyrusbackup/backupd/partitions/collection"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/maintenance"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// HistoryGrace is how long after the removal of history the users of packs are counted. Until then,
// blocks with places of the erased bodies may be left (maintenance.Sweep).
const HistoryGrace = maintenance.BlocksGrace + time.Hour

// HistoryOptions are the options of EraseHistory.
type HistoryOptions struct {
	By, Reason string // for people, in the record
	Forget     maintenance.ForgetOptions
}

// historyJob is the erasure of the history of a backup, or of messages.
type historyJob struct {
	HistoryOptions
	messages []cyrus.GUID // are erased; nil: history is
	whole    []cyrus.GUID // of messages: see SharedError
	f        *repository.Found
	parts    []repository.Config
	backup   *repository.Upkeep
	collect  *repository.Upkeep
	r        *record
	done     *Done
	earlier  *Done // of an interrupted run that was completed first
}

// EraseHistory removes the history of a backup before o.Forget.Until, whatever retention keeps. An
// interrupted run that has removed nothing yet continues with this time. If it has, it is completed with its own time
// first. When EraseHistory returns nil, nobody can restore the history, and SweepHistory and a collection remove the
// bodies in packs later.
func EraseHistory(ctx context.Context, s *HistorySurvey, o HistoryOptions) (*Done, error) {
	if s.Held != nil {
		return nil, s.Held
	}
	o.Forget.Lock.SetDefaults()
	j := &historyJob{HistoryOptions: o, f: s.Found, parts: s.parts}
	err := j.leased(ctx, j.run)
	if err != nil {
		err = fmt.Errorf("partition %s: %w", s.Found.Partition.Name, err)
	}
	return j.done, err
}

// leased calls fn with the leases of the backup and of collection: no collection copies bodies into
// packs that are not on record.
func (j *historyJob) leased(ctx context.Context, fn func(context.Context) error) (err error) {
	if j.backup, err = repository.BeginUpkeep(ctx, j.f, j.Forget.Lock); err != nil {
		return err
	}
	end := func(u *repository.Upkeep) { err = errors.Join(err, u.End(context.WithoutCancel(ctx))) }
	defer end(j.backup)
	if j.collect, err = repository.BeginCollection(ctx, j.f.Partition, j.Forget.Lock); err != nil {
		return err
	}
	defer end(j.collect)
	during, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(j.backup.Lost(), cancel)()
	defer context.AfterFunc(j.collect.Lost(), cancel)()
	return fn(during)
}

func (j *historyJob) check() error { return errors.Join(j.backup.Check(), j.collect.Check()) }

func (j *historyJob) run(ctx context.Context) error {
	for {
		if err := j.same(ctx); err != nil {
			return err
		}
		if err := j.begin(ctx); err != nil {
			return err
		}
		if err := j.erase(ctx); err != nil {
			return errors.Join(err, j.refused(ctx, err))
		}
		if more, err := j.goesOn(ctx); err != nil || !more {
			return err
		}
	}
}

// goesOn reports whether an erasure is left, after one is complete: it was that of an interrupted run.
func (j *historyJob) goesOn(ctx context.Context) (bool, error) {
	left, err := interrupted(ctx, j.f, j.ofMessages(), j.Forget.Lock)
	switch {
	case err != nil || left != nil:
		return left != nil, err
	case j.ofMessages():
		return maintenance.ArrivedAgain(ctx, j.f, j.messages, j.r.Commit, j.Forget.RetainOptions)
	}
	return j.r.Before.Before(j.Forget.Until), nil
}

// erase erases what the record is about.
func (j *historyJob) erase(ctx context.Context) error {
	j.earlier, j.done = j.done, &Done{Record: Record{j.f.Partition.Name, j.r.Erasure}}
	o := j.Forget
	if j.ofMessages() {
		return j.eraseMessages(ctx, o)
	}
	o.Until = j.r.Before
	o.Merge.Packing = j.packing
	o.Cutting = func(ctx context.Context) error {
		if err := j.name(ctx); err != nil {
			return err
		}
		return j.removing(ctx)
	}
	removed, err := maintenance.Forget(ctx, j.f, j.backup, o)
	j.r.Objects += int64(removed.Objects())
	j.r.Bytes += removed.Bytes()
	if err != nil {
		return err
	}
	return j.end(ctx)
}

// same returns an error if the name belongs to another backup by now, or if a copy has appeared since the person has
// looked.
func (j *historyJob) same(ctx context.Context) error {
	if err := noOtherPart(ctx, j.f, j.messages); err != nil {
		return err
	}
	now, err := repository.ReadBackupInfo(ctx, j.f.Partition.Store, j.f.Path)
	if err == nil && now.ID != j.f.Info.ID {
		err = ErrChanged
	}
	if err != nil {
		return err
	}
	for _, p := range j.parts {
		w, err := repository.Everything(ctx, p, j.f.Name())
		if err != nil {
			return err
		}
		if len(w.Strays) > 0 {
			return fmt.Errorf("partition %s: %s/: %w", p.Name, w.Strays[0], ErrStray)
		}
		if len(w.Aside) > 0 || w.Active != nil && p.Name != j.f.Partition.Name {
			return fmt.Errorf("%w; partition %s", ErrCopies, p.Name)
		}
	}
	return nil
}

// removing puts the record with the state removing: from now on its time stays.
func (j *historyJob) removing(ctx context.Context) error {
	j.r.State = repository.ErasureRemoving
	return j.put(ctx)
}

// begin puts the record, or continues with that of an interrupted run. Once something may have been removed, its time
// stays. The id of the backup gets into the record when that is put next: a repair may have rewritten backup.json, and
// the person who runs erase confirms that it is the same backup.
func (j *historyJob) begin(ctx context.Context) error {
	if j.ofMessages() {
		return j.beginMessages(ctx)
	}
	r, err := interrupted(ctx, j.f, false, j.Forget.Lock)
	if err != nil {
		return err
	}
	until := j.Forget.Until.UTC()
	if r != nil {
		r.IDs = []string{j.f.Info.ID}
	}
	switch j.r = r; {
	case r != nil && r.State == repository.ErasureRemoving && r.Before.After(until): // this person has not seen that time
		return fmt.Errorf("an interrupted run has begun to remove the history before %s: %w", r.Before.Format(time.RFC3339), ErrChanged)
	case r != nil && (r.State == repository.ErasureRemoving || r.Before.Equal(until)):
		return nil
	case r == nil:
		now, err := now(ctx, j.f.Partition, j.Forget.Lock.Now)
		if err != nil {
			return err
		}
		j.r = &record{Erasure: repository.NewErasure(repository.NewID(), j.f.Name(), until)}
		j.r.Since, j.r.IDs = now.UTC(), []string{j.f.Info.ID}
	}
	j.r.Before, j.r.By, j.r.Reason = until, j.By, j.Reason
	return j.put(ctx)
}

// interrupted returns the record of an interrupted erasure of history, or of messages, of this backup, or nil: of several that of the
// latest time, and first an erasure that has removed something. A pending one of another id counts as
// interrupted: what a repair has put since may name packs that are not on its list. So does one whose list is lost, or
// whose event the log has lost.
func interrupted(ctx context.Context, f *repository.Found, messages bool, o repository.LockOptions) (found *record, err error) {
	for e, err := range repository.Erasures(ctx, f.Partition, time.Time{}) {
		if err != nil && (e == nil || repository.IsStoreError(err)) {
			return nil, err
		}
		if err != nil || e.OfMessages() != messages {
			continue
		}
		if is, err := continues(ctx, e, f, o); err != nil {
			return nil, err
		} else if !is {
			continue
		}
		now, info, err := repository.ReadErasure(ctx, f.Partition.Store, e.ID)
		if err != nil {
			return nil, err
		}
		if is, err := continues(ctx, now, f, o); err != nil {
			return nil, err
		} else if !is { // another run has ended it meanwhile
			continue
		}
		if now.State == repository.ErasurePending {
			now.State = repository.ErasureRemoving
		}
		if found == nil || later(now, found.Erasure) {
			found = &record{Erasure: now, etag: info.ETag}
		}
	}
	return found, nil
}

// continues reports whether an erasure has to be continued with a backup.
func continues(ctx context.Context, e *repository.Erasure, f *repository.Found, o repository.LockOptions) (bool, error) {
	switch {
	case !e.MayConcern(f) || !e.Cancelled.IsZero():
		return false, nil
	case e.Unfinished() || e.State == repository.ErasurePending && !e.Concerns(f):
		return true, nil
	case e.State != repository.ErasurePending:
		return false, nil
	}
	err := checkList(ctx, f.Partition.Store, e)
	if history.IsDamage(err) {
		return true, nil
	}
	if err != nil || !e.OfMessages() {
		return false, err
	}
	return eventLost(ctx, e, f, o)
}

// eventLost reports whether the log of a backup lacks the event in the record of an erasure of messages. It was restored to an
// older state then.
func eventLost(ctx context.Context, e *repository.Erasure, f *repository.Found, o repository.LockOptions) (bool, error) {
	commit, at, err := eventOf(ctx, e, f, o)
	return err == nil && e.Commit > 0 && (commit != e.Commit || !at.Equal(e.Erased)), err
}

// eventOf returns the commit that the log has with the event of an erasure, and its time; 0 = none.
func eventOf(ctx context.Context, e *repository.Erasure, f *repository.Found, o repository.LockOptions) (uint64, time.Time, error) {
	m := maintenance.Messages{Erasure: e.ID, List: e.Messages, Commit: e.Commit, At: e.Erased}
	return maintenance.EventOf(ctx, f, m, maintenance.RetainOptions{Lock: o})
}

// later reports whether a is to be continued before b.
func later(a, b *repository.Erasure) bool {
	if a.State != b.State {
		return a.State == repository.ErasureRemoving
	}
	return a.Before.After(b.Before)
}

func (j *historyJob) put(ctx context.Context) (err error) {
	if err = j.check(); err == nil {
		j.r.etag, err = j.r.Put(ctx, j.f.Partition.Store, j.r.etag)
	}
	return err
}

// end condemns the packs that may have erased bodies, and removes former versions.
func (j *historyJob) end(ctx context.Context) error {
	p := j.f.Partition
	if err := j.name(ctx); err != nil {
		return err
	}
	tag, err := listTag(ctx, p.Store, j.r.ID)
	if err != nil {
		return err
	}
	if !j.ofMessages() { // their list has no other packs
		err = collection.Partly(ctx, j.f, readPacks(ctx, p.Store, j.r.ID), func(packs iter.Seq2[collection.Pack, error]) (err error) {
			if err = j.check(); err == nil {
				j.r.Packs, err = putPacks(ctx, p.Store, j.r.ID, tag, packs)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := j.removing(ctx); err != nil { // perhaps nothing had to be cut
		return err
	}
	if err := collection.Condemn(ctx, p, j.collect, readPacks(ctx, p.Store, j.r.ID)); err != nil {
		return err
	}
	at, err := now(ctx, p, j.Forget.Lock.Now)
	if err != nil {
		return err
	}
	m := &remover{store: p.Store, check: j.check}
	if m.only, err = ofHistory(ctx, p, j.r.Erasure, false); err != nil {
		return err
	}
	if err := m.former(ctx, repository.BackupPrefix(j.f.Path), at); err != nil {
		return err
	}
	j.done.Unsupported = m.unsupported
	j.r.State, j.r.Cut, j.r.Removed, j.r.Failed = repository.ErasurePending, at.UTC(), at.UTC(), time.Time{}
	m.note(j.r.Erasure)
	return j.put(ctx)
}

// ofHistory returns a function that chooses the keys whose former versions have erased history, or messages. gone: the backup is not
// there any more, under this name.
func ofHistory(ctx context.Context, p repository.Config, e *repository.Erasure, gone bool) (func(key string) bool, error) {
	first, err := (&history.Log{Store: p.Store, Backup: e.Backup}).First(ctx)
	if err != nil {
		return nil, err
	}
	return func(key string) bool {
		if from, to, ok := history.ParseLogKey(e.Backup, key); ok {
			return gone || to < first || e.OfMessages() && from < e.Commit // these commits had them inline
		}
		_, checkpoint := history.ParseCheckpointKey(e.Backup, key)
		return checkpoint || history.IsRecordsKey(e.Backup, key) || key == collection.UsesKey(e.Backup)
	}, nil
}
