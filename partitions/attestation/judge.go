package attestation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
	"github.com/cyrusbackup/backupd/partitions/storeclock"
)

// MinAge is how old a commit is at least when retention removes it (docs/design.md, promise 6), whatever backup_retention is.
const MinAge = 48 * time.Hour

// judge compares the entries of a list with a partition.
type judge struct {
	p       repository.Config
	all     []repository.Config // all partitions of this server
	at      time.Time           // store time of the list; zero = unknown, or there is no list
	now     time.Time           // store time
	unsure  error               // why now is the time of this host
	retains bool                // backup_retention is set
	keep    time.Duration       // age of the youngest commit that retention may remove
	erased  erasures
	ids     repositories
}

// newJudge returns the judge for a list, which may be nil.
func newJudge(ctx context.Context, p repository.Config, o Options, l *List) *judge {
	j := &judge{p: p, all: o.Partitions, retains: o.Retention > 0, keep: max(MinAge, o.Retention)}
	at, err := storeclock.Certain(ctx, p.Store, repository.Key, o.Now, time.Time{})
	if err != nil {
		at, j.unsure = o.Now(), err
	}
	j.now = at.UTC().Round(0)
	if l != nil && !l.Header.Uncertain && !l.Header.Time.After(j.now) {
		j.at = l.Header.Time
	}
	return j
}

// verdict is the result for an entry.
type verdict struct {
	finding *Finding // nil = nothing was rewritten or removed
	gone    string   // as Entry.Gone
	// why explains to people a legitimate removal; "" = there is none.
	why       string
	shortened bool // commits were removed since the list
}

// found is the verdict with a finding about the commit of an entry.
func found(e *Entry, kind, format string, args ...any) verdict {
	f := finding(kind, format, args...)
	f.Number, f.Hash = e.Number, e.Hash
	return verdict{finding: f}
}

// entry compares an entry with the backup, or with nothing if it was not found. Before it reports a finding, it looks
// again: retention, a merge or a move may have removed objects since the backup was listed.
func (j *judge) entry(ctx context.Context, e *Entry, f *repository.Found) (verdict, error) {
	if e.Number == 0 && f != nil {
		return verdict{}, nil // nothing was there
	}
	if f != nil {
		v, err := j.examine(ctx, e, withID(f.Listed(), e.ID))
		if err != nil || v.finding == nil {
			return v, err
		}
	}
	again, err := j.find(ctx, e)
	if err != nil {
		return verdict{}, err
	}
	if again == nil {
		return j.absent(ctx, e)
	}
	v, err := j.examine(ctx, e, again)
	if err != nil || v.finding == nil {
		return v, err
	}
	return j.explain(ctx, e, v)
}

// withID returns the backup with the id of an entry, if its own is not known.
func withID(f *repository.Found, id string) *repository.Found {
	if f.Info.ID != "" {
		return f
	}
	g := *f
	g.Info.ID = id
	return &g
}

// find finds the backup of an entry by its path. It returns nil if nothing is left of it. Without backup.json, the log may
// still be there.
func (j *judge) find(ctx context.Context, e *Entry) (*repository.Found, error) {
	f, err := repository.FindPath(ctx, j.p, e.Backup)
	switch {
	case err == nil:
		return withID(f, e.ID), nil
	case isAside(e.Backup) && errors.Is(err, repository.ErrNoBackup):
		return nil, nil
	case isAside(e.Backup), repository.IsStoreError(err) && !errors.Is(err, repository.ErrNoBackup):
		return nil, err
	}
	f = &repository.Found{Partition: j.p, Path: e.Backup, Info: repository.BackupInfo{ID: e.ID}}
	s, err := f.Log().Survey(ctx)
	if err != nil || s.Newest == 0 {
		return nil, err
	}
	return f, nil
}

// examine looks for the commit of an entry in a log, as readers see it, and for what must be before it. It explains nothing.
func (j *judge) examine(ctx context.Context, e *Entry, f *repository.Found) (verdict, error) {
	s, err := f.Log().Survey(ctx)
	if err != nil {
		return verdict{}, err
	}
	if s.Newest < e.Number {
		return found(e, RolledBack, "the log ends with commit %d, and commit %d (%.16s…) was its newest: the commits after it were removed, or the backup was set back to an older state", s.Newest, e.Number, e.Hash), nil
	}
	hash, err := s.Hash(ctx, e.Number)
	switch {
	case errors.Is(err, history.ErrAbsent) && s.First > e.Number:
		return j.beforeLog(ctx, e, f, s)
	case errors.Is(err, history.ErrAbsent), errors.Is(err, objstore.ErrNotExist):
		return found(e, Removed, "commit %d was removed, and later commits are there", e.Number), nil
	case err != nil && history.IsDamage(err):
		return found(e, Unreadable, "commit %d cannot be read: %v", e.Number, err), nil
	case err != nil:
		return verdict{}, err
	case hash != e.Hash:
		return found(e, Rewritten, "commit %d has the hash %.16s…, and had %.16s…", e.Number, hash, e.Hash), nil
	}
	if from, to := e.newHole(s); from > 0 {
		return found(e, Removed, "commits %d to %d were removed, and others before and after them are there", from, to), nil
	}
	return j.beginning(ctx, e, f, s)
}

// beforeLog decides whether retention may have removed the commit of an entry, with everything before.
func (j *judge) beforeLog(ctx context.Context, e *Entry, f *repository.Found, s *history.Survey) (verdict, error) {
	if s.First-1 == e.Number {
		previous, err := s.Previous(ctx, s.First)
		if err != nil {
			return verdict{}, err
		}
		if previous != e.Hash {
			return found(e, Rewritten, "the log begins with commit %d, which does not follow commit %d (%.16s…)", s.First, e.Number, e.Hash), nil
		}
	}
	return j.shortened(ctx, e, f, s)
}

// beginning checks what the log begins with.
func (j *judge) beginning(ctx context.Context, e *Entry, f *repository.Found, s *history.Survey) (verdict, error) {
	if s.First > e.First {
		return j.shortened(ctx, e, f, s)
	}
	if e.Base == nil || s.First > e.Base.Number+1 {
		return verdict{}, nil
	}
	return j.base(ctx, e, f)
}

// shortened decides whether a log may begin later than it did.
func (j *judge) shortened(ctx context.Context, e *Entry, f *repository.Found, s *history.Survey) (verdict, error) {
	part, err := j.erased.part(ctx, j, e)
	if err != nil {
		return verdict{}, err
	}
	if part == nil && j.unsure != nil {
		return verdict{}, fmt.Errorf("commits up to %d were removed, and their age is unknown: %w", s.First-1, j.unsure)
	}
	young, err := j.tooYoung(ctx, e, part, f, s)
	if err != nil || young.finding != nil {
		return young, err
	}
	recorded, err := s.Retained(ctx, e.Number)
	switch {
	case err != nil && !history.IsUnreadable(err):
		return verdict{}, err
	case !recorded:
		return found(e, Shortened, "commits %d to %d were removed, and the log does not record that", max(e.First, 1), s.First-1), nil
	case part != nil:
		return verdict{why: part.text, shortened: true}, nil
	case e.MovedTo != "" && s.Newest == e.Number:
		return found(e, Shortened, "commits up to %d were removed, although the log had ended with a seal: nothing removes commits from such a log", s.First-1), nil
	case !j.retains && e.MovedTo == "":
		return found(e, Shortened, "commits up to %d were removed as if by retention, and backup_retention is not set on this host", s.First-1), nil
	}
	return verdict{why: fmt.Sprintf("retention has removed commits up to %d", s.First-1), shortened: true}, nil
}

// tooYoung returns a finding if the log begins after a commit that is younger than retention allows: the head of a list, or
// the last commit before the log. A commit that a log has got from another partition may be older than the list
// without it, so nothing follows from the time of a list.
func (j *judge) tooYoung(ctx context.Context, e *Entry, part *partErasure, f *repository.Found, s *history.Survey) (verdict, error) {
	last := s.First - 1
	heads := append([]Head{}, e.Recent...)
	for _, h := range append(heads, Head{e.Number, e.Time}) {
		switch {
		case last < h.Number:
		case part != nil && !h.Time.Before(part.before):
			return found(e, Shortened, "commits up to %d were removed, and commit %d is of %s: %s", last, h.Number, shown(h.Time), part.text), nil
		case part == nil && j.young(h.Time):
			return found(e, Shortened, "commits up to %d were removed, and commit %d is of %s: retention on this host removes nothing that is younger than %s (backup_retention: is it, or was it, shorter elsewhere?)", last, h.Number, shown(h.Time), days(j.keep)), nil
		}
	}
	if part != nil {
		return verdict{}, nil
	}
	at, err := j.timeBefore(ctx, f, s)
	if err != nil || !j.young(at) {
		return verdict{}, err
	}
	return found(e, Shortened, "commits up to %d were removed, and that commit is of %s: retention on this host removes nothing that is younger than %s (backup_retention: is it, or was it, shorter elsewhere?)", last, shown(at), days(j.keep)), nil
}

// young reports whether retention keeps a commit of this time. Its clock may be wrong by storeclock.Bound.
func (j *judge) young(at time.Time) bool { return j.now.Sub(at) < j.keep-storeclock.Bound }

// days is an age for people.
func days(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return d.String()
}

// timeBefore returns the time of the commit before the log, from the state that retention has left; zero = unknown. If the
// next commit was made earlier by its clock, the store's clock was ahead.
func (j *judge) timeBefore(ctx context.Context, f *repository.Found, s *history.Survey) (time.Time, error) {
	m, err := history.ReadCheckpoint(ctx, f.Partition.Store, f.Path, s.First-1)
	if history.IsUnreadable(err) || isAbsent(err) {
		return time.Time{}, nil // retention is removing commits, or verify reports the damage
	}
	if err != nil {
		return time.Time{}, err
	}
	at := m.Tip().Time
	if err := m.Close(); err != nil {
		return time.Time{}, err
	}
	next, err := s.Header(ctx, s.First)
	if history.IsUnreadable(err) || err == nil && next.Clock.Before(at.Add(-storeclock.Bound)) {
		return time.Time{}, nil
	}
	return at, err
}

// base compares the state before the log with the one of the entry. The log does not have its commits any more, so
// nothing else shows that it was changed.
func (j *judge) base(ctx context.Context, e *Entry, f *repository.Found) (verdict, error) {
	hash, err := baseHash(ctx, f, e.Base.Number)
	switch {
	case err == nil && hash == e.Base.Hash:
		return verdict{}, nil
	case err != nil && !history.IsDamage(err) && !errors.Is(err, objstore.ErrNotExist):
		return verdict{}, err
	}
	part, perr := j.erased.part(ctx, j, e)
	if perr != nil {
		return verdict{}, perr
	}
	key := history.CheckpointKey(f.Path, e.Base.Number)
	switch {
	case part != nil:
		return verdict{why: part.text}, nil
	case err != nil:
		return found(e, Checkpoint, "the state before the log cannot be read: %v", err), nil
	}
	return found(e, Checkpoint, "%s has another state than retention has left there", key), nil
}

// baseHash returns the hash of the state in a checkpoint.
func baseHash(ctx context.Context, f *repository.Found, n uint64) (string, error) {
	m, err := history.ReadCheckpoint(ctx, f.Partition.Store, f.Path, n)
	if err != nil {
		return "", err
	}
	return m.Checkpoint().Hash, m.Close()
}
