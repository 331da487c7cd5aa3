package attestation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cyrusbackup/backupd/objstore"
	"github.com/cyrusbackup/backupd/partitions/history"
	"github.com/cyrusbackup/backupd/partitions/repository"
)

// MinAge is how old a commit is at least when retention removes it (docs/design.md, promise 6). So no commit can be gone
// that was written after a list which is younger.
const MinAge = 48 * time.Hour

// judge compares the entries of a list with a partition.
type judge struct {
	p       repository.Config
	at      time.Time // store time of the list
	now     time.Time // store time
	retains bool      // backup_retention is set
	erased  erasures
}

// verdict is the result for an entry.
type verdict struct {
	finding *Finding // nil = nothing was rewritten or removed
	gone    string   // as Entry.Gone
	// why explains to people a legitimate removal; "" = there is none.
	why       string
	shortened bool // commits were removed since the list
}

// entry compares an entry with the backup, or with nothing if it was not found. Before it reports a finding, it looks
// again: retention, a merge or a move may have removed objects since the backup was listed.
func (j *judge) entry(ctx context.Context, e *Entry, f *repository.Found) (verdict, error) {
	if f != nil {
		v, err := j.compare(ctx, e, f.Listed())
		if err != nil || v.finding == nil {
			return v, err
		}
	}
	again, err := j.find(ctx, e.Backup)
	if err != nil {
		return verdict{}, err
	}
	if again == nil {
		return j.absent(ctx, e)
	}
	return j.compare(ctx, e, again)
}

// find finds a backup by its path. It returns nil if nothing is left of it. Without backup.json, the log may still be
// there.
func (j *judge) find(ctx context.Context, place string) (*repository.Found, error) {
	f, err := repository.FindPath(ctx, j.p, place)
	switch {
	case err == nil:
		return f, nil
	case isAside(place) && errors.Is(err, repository.ErrNoBackup):
		return nil, nil
	case isAside(place), repository.IsStoreError(err):
		return nil, err
	}
	f = &repository.Found{Partition: j.p, Path: place}
	s, err := f.Log().Survey(ctx)
	if err != nil || s.Newest == 0 {
		return nil, err
	}
	return f, nil
}

// compare looks for the commit of the entry in the log, as readers see it.
func (j *judge) compare(ctx context.Context, e *Entry, f *repository.Found) (verdict, error) {
	if e.Number == 0 {
		return verdict{}, nil // nothing was there
	}
	s, err := f.Log().Survey(ctx)
	if err != nil {
		return verdict{}, err
	}
	if s.Newest < e.Number {
		return j.other(ctx, e, finding(RolledBack, "the log ends with commit %d, and commit %d (%.16s…) was its newest: the commits after it were removed, or the backup was set back to an older state", s.Newest, e.Number, e.Hash))
	}
	hash, err := s.Hash(ctx, e.Number)
	switch {
	case errors.Is(err, history.ErrAbsent) && s.First > e.Number:
		return j.beforeLog(ctx, e, s)
	case errors.Is(err, history.ErrAbsent), errors.Is(err, objstore.ErrNotExist):
		return j.other(ctx, e, finding(Removed, "commit %d was removed, and later commits are there", e.Number))
	case err != nil && history.IsDamage(err):
		return j.other(ctx, e, finding(Unreadable, "commit %d cannot be read: %v", e.Number, err))
	case err != nil:
		return verdict{}, err
	case hash != e.Hash:
		return j.other(ctx, e, finding(Rewritten, "commit %d has the hash %.16s…, and had %.16s…", e.Number, hash, e.Hash))
	}
	return j.beginning(ctx, e, f, s)
}

// beforeLog decides whether retention may have removed the commit of an entry, with everything before.
func (j *judge) beforeLog(ctx context.Context, e *Entry, s *history.Survey) (verdict, error) {
	last := s.First - 1
	if last == e.Number {
		previous, err := s.Previous(ctx, s.First)
		if err != nil {
			return verdict{}, err
		}
		if previous != e.Hash {
			return j.other(ctx, e, finding(Rewritten, "the log begins with commit %d, which does not follow commit %d (%.16s…)", s.First, e.Number, e.Hash))
		}
	}
	ofHistory, err := j.historyErased(ctx, e)
	if err != nil {
		return verdict{}, err
	}
	return j.shortened(ctx, e, s, ofHistory)
}

// beginning checks what the log begins with.
func (j *judge) beginning(ctx context.Context, e *Entry, f *repository.Found, s *history.Survey) (verdict, error) {
	ofHistory := ""
	if s.First > e.First {
		var err error
		if ofHistory, err = j.historyErased(ctx, e); err != nil {
			return verdict{}, err
		}
		return j.shortened(ctx, e, s, ofHistory)
	}
	if e.Base == nil || s.First > e.Base.Number+1 {
		return verdict{}, nil
	}
	return j.base(ctx, e, f)
}

// shortened decides whether a log may begin later than it did. ofHistory is the erasure of its history; "" = none.
func (j *judge) shortened(ctx context.Context, e *Entry, s *history.Survey, ofHistory string) (verdict, error) {
	if f := j.tooYoung(e, s.First-1); f != nil && ofHistory == "" && e.MovedTo == "" {
		return j.other(ctx, e, f)
	}
	recorded, err := s.Retained(ctx)
	switch {
	case err != nil && !history.IsUnreadable(err):
		return verdict{}, err
	case !recorded:
		return j.other(ctx, e, finding(Shortened, "commits %d to %d were removed, and the log does not record that", max(e.First, 1), s.First-1))
	case ofHistory != "":
		return verdict{why: ofHistory, shortened: true}, nil
	case !j.retains && e.MovedTo == "":
		return j.other(ctx, e, finding(Shortened, "commits up to %d were removed as if by retention, and backup_retention is not set on this host", s.First-1))
	}
	return verdict{why: fmt.Sprintf("retention has removed commits up to %d", s.First-1), shortened: true}, nil
}

// tooYoung returns a finding if commits up to last are gone, and some of them cannot be old enough: they follow the head of
// a list that is younger than MinAge, or are themselves younger.
func (j *judge) tooYoung(e *Entry, last uint64) *Finding {
	for _, h := range append(slices.Clone(e.Recent), Head{j.at, e.Number, e.Time}) {
		if last > h.Number && j.now.Sub(h.List) < MinAge {
			return finding(Shortened, "commits up to %d were removed, and commit %d was the newest at %s: nothing removes commits that are younger than %v", last, h.Number, shown(h.List), MinAge)
		}
		if last >= h.Number && j.now.Sub(h.Time) < MinAge {
			return finding(Shortened, "commits up to %d were removed, and commit %d is of %s: nothing removes commits that are younger than %v", last, h.Number, shown(h.Time), MinAge)
		}
	}
	return nil
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
	why, rerr := j.historyErased(ctx, e)
	if rerr != nil {
		return verdict{}, rerr
	}
	if why != "" {
		return verdict{why: why}, nil
	}
	key := history.CheckpointKey(f.Path, e.Base.Number)
	if err != nil {
		return j.other(ctx, e, finding(Checkpoint, "the state before the log cannot be read: %v", err))
	}
	return j.other(ctx, e, finding(Checkpoint, "%s has another state than retention has left there", key))
}

// baseHash returns the hash of the state in a checkpoint.
func baseHash(ctx context.Context, f *repository.Found, n uint64) (string, error) {
	m, err := history.ReadCheckpoint(ctx, f.Partition.Store, f.Path, n)
	if err != nil {
		return "", err
	}
	return m.Checkpoint().Hash, m.Close()
}
